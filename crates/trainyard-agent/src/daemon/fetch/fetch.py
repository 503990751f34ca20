"""Fetches one file, going on where a broken connection left it.

Usage: fetch.py FILE BYTES_MAX, with the address in TRAINYARD_FETCH_URL: one that is signed opens what it names, and
arguments can be read by every user of a machine. A token in TRAINYARD_FETCH_TOKEN is sent to that host alone, never
after a redirect. Prints one line of JSON: `status` is 200 where the file is there, 413 where it is too large, 0 where nobody
answered; `text` says more.
"""

import errno
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

TRIES = 5
URL, FILE, BYTES_MAX = os.environ["TRAINYARD_FETCH_URL"], sys.argv[1], int(sys.argv[2])


def say(status, text=""):
    print(json.dumps({"status": status, "text": " ".join(str(text).split())[:500]}))
    sys.exit(0)


class OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, url):
        if URL.startswith("https:") and not url.startswith("https:"):
            say(0, "it redirects to an address without encryption")
        return super().redirect_request(request, file, code, message, headers, url)


def once(opener):
    have = os.path.getsize(FILE) if os.path.exists(FILE) else 0
    request = urllib.request.Request(URL, headers={"User-Agent": "trainyard-agent"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    token = os.environ.get("TRAINYARD_FETCH_TOKEN")
    if token:
        request.add_unredirected_header("Authorization", "Bearer " + token)
    with opener.open(request, timeout=60) as answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        expected = have + int(length) if length else None
        if expected is not None and expected > BYTES_MAX:
            say(413, f"it has {expected} bytes, and there is room for {BYTES_MAX}")
        with open(FILE, "ab" if goes_on else "wb") as out:
            while True:
                piece = answer.read(1 << 20)
                if not piece:
                    break
                have += len(piece)
                if have > BYTES_MAX:
                    say(413, f"it has more bytes than there is room for ({BYTES_MAX})")
                out.write(piece)
    if expected is not None and have < expected:
        raise OSError(f"the connection broke off after {have} of {expected} bytes")


def main():
    opener = urllib.request.build_opener(OnlyHttps)
    for attempt in range(TRIES):
        last = attempt + 1 == TRIES
        try:
            once(opener)
            say(200)
        except urllib.error.HTTPError as error:
            if error.code == 416 and os.path.exists(FILE):
                os.remove(FILE)
            elif last or error.code < 500 and error.code not in (408, 429):
                say(error.code, error.headers.get("X-Error-Message") or error.reason)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            for_good = isinstance(reason, ssl.SSLCertVerificationError) or getattr(error, "errno", None) == errno.ENOSPC
            if last or for_good:
                say(0, error)
        time.sleep(2**attempt / 2)
    say(0, "it could not be fetched")


main()
