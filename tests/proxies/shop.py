"""A tiny shop for scripts/proxies: it says what was asked of it, and whom it was told of under any name like ours."""

import http.server
import sys


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ours = [pair for pair in self.headers.items() if pair[0].lower().startswith("usher")]
        told = " ".join(sorted("=".join(pair).lower() for pair in ours))
        body = f"the shop: {self.command} {self.path} {told}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
