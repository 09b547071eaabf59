-- Scripts run inside Redis: Lua 5.1, and three names that Redis gives them.
std = "lua51"
read_globals = { "redis", "KEYS", "ARGV" }
-- The proxy's own Lua is 5.3.
files["deploy/haproxy"] = { std = "lua53", read_globals = { "core" } }
