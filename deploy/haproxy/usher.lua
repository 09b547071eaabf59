-- Asks Usher whether a request has a turn: `http-request lua.usher_verify ADDRESS QUEUE`.
-- It answers whoever has none. Whoever has one passes, and three variables say who he is.
local timeout_ms = 6000 -- Usher itself gives up after 5 s; HAProxy tries three times
local told = { "retry-after", "usher-code", "usher-wait", "content-type", "www-authenticate" }

local function values(headers, name)
    local found, list = headers[name] or {}, {}
    for index = 0, #found do
        list[#list + 1] = found[index]
    end
    return list
end

local function is_page(txn, headers)
    local method, accept = txn.sf:method(), table.concat(values(headers, "accept"), ",")
    return (method == "GET" or method == "HEAD") and accept:find("text/html", 1, true) ~= nil
end

local function refuse(txn, headers, answer)
    local reply = txn:reply { status = 503, reason = "Service Unavailable" }
    reply:add_header("cache-control", "no-store")
    local status, wait = answer.status, (answer.headers or {})["usher-wait"]
    if status ~= 401 and status ~= 403 then
        reply:add_header("retry-after", "2")
    elseif wait and is_page(txn, headers) then
        reply:set_status(302, "Found")
        reply:add_header("location", wait[0])
    else
        reply:set_status(status)
        for _, name in ipairs(told) do
            for _, value in ipairs(values(answer.headers, name)) do
                reply:add_header(name, value)
            end
        end
        reply:set_body(answer.body)
    end
    txn:done(reply)
end

core.register_action("usher_verify", { "http-req" }, function(txn, address, queue)
    local headers = txn.http:req_get_headers()
    local hops = values(headers, "x-forwarded-for")
    hops[#hops + 1] = txn.sf:src() -- USHER_TRUSTED_PROXIES names this proxy
    local answer = core.httpclient():get {
        url = address .. "/verify?queue=" .. queue,
        timeout = timeout_ms,
        headers = {
            ["token-auth"] = values(headers, "token-auth"),
            ["cookie"] = values(headers, "cookie"),
            ["x-forwarded-for"] = hops,
            ["x-forwarded-uri"] = { txn.sf:pathq() },
        },
    }
    if answer.status ~= 204 then
        return refuse(txn, headers, answer)
    end
    for variable, name in pairs { user = "usher-user", queue = "usher-queue", number = "usher-number" } do
        txn:set_var("txn.usher_" .. variable, answer.headers[name][0])
    end
end, 2)
