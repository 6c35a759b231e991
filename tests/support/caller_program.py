"""What a client's task runs: asks a URL again and again, and says what it was answered. Environment: URL."""

import encodings.idna  # noqa: F401 -- the image has the modules that are loaded here
import os
import time
import urllib.request

if "URL" in os.environ:
    with open("/etc/hosts") as hosts:  # noqa: PTH123
        print(hosts.read(), flush=True)
while "URL" in os.environ:
    try:
        with urllib.request.urlopen(os.environ["URL"], timeout=20) as answer:
            print(answer.read().decode().strip(), flush=True)
    except OSError as error:
        print(f"failed: {error}", flush=True)
    time.sleep(0.1)
