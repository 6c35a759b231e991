"""Make a small OCI image out of Debian's busybox-static: a web server on port 80. Used by quickstart.sh.

Usage: make_image.py DIRECTORY   (an OCI layout, for `skopeo copy oci:DIRECTORY:latest ...`)
"""

import sys
from pathlib import Path

from neargate.oci.layout import busybox_image

PAGE = b"<h1>Hello from neargate</h1>\n"
SERVER = b"""#!/bin/sh
echo "web server starting on port 80 as $(hostname)"
trap 'exit 0' TERM
httpd -f -v -p 80 -h /www &
wait
"""

if __name__ == "__main__":
    busybox_image(
        Path(sys.argv[1]),
        entrypoint=["/bin/serve"],
        files={"/www/index.html": PAGE, "/bin/serve": SERVER},
    )
