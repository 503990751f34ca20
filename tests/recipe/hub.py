import http.server
import os
import threading


def ask(model, status, code):
    """Asks a hub for a model that refuses with that status and code, as the hub does."""

    class Refused(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            said = {"GatedRepo": f"Access to model {model} is restricted", "": "Invalid credentials in Authorization header"}
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", said.get(code, "Repository not found"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refused)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.server_port}"
    os.environ["HF_HUB_OFFLINE"] = "0"
    os.environ["HF_HOME"] = os.path.abspath("hub")
    import transformers

    transformers.AutoConfig.from_pretrained(model)
