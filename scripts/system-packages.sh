#!/usr/bin/env bash
# Install the Debian packages that neargate needs, and only those that are missing.
# Usage: system-packages.sh run|test|bench. Called by the Makefile.
set -euo pipefail

run=(
    python3-venv                     # the virtualenv
    crun runc                        # OCI runtimes of the process tier
    runsc                            # the gVisor tier
    nftables iproute2                # NAT and isolation of the tasks' interfaces
    erofs-utils                      # images as read-only file systems
    tini                             # initProcessEnabled
    libseccomp2 golang-github-containers-common  # the default seccomp profile
    busybox-static skopeo curl jq ca-certificates # the quick start
    awscli                           # version 2 of the CLI: `aws logs tail`, which PyPI's version 1 lacks
)
test=(
    docker-registry apache2-utils openssl  # a foreign registry with TLS and htpasswd
    postgresql                             # prepares every statement of the store: nothing only SQLite has
)
bench=(wrk podman umoci docker.io)                     # what the benchmarks compare with

case "${1:-}" in
    run) wanted=("${run[@]}") ;;
    test) wanted=("${test[@]}") ;;
    bench) wanted=("${bench[@]}") ;;
    *) echo "usage: $0 run|test|bench" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
# A newer python3 from elsewhere brings its own venv.
python3 -c 'import ensurepip' 2>/dev/null && missing=("${missing[@]/python3-venv/}")
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sed '/^$/d')
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ]; then
    echo "these packages are missing: ${missing[*]}" >&2
    echo "install them: sudo apt-get install -y ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
    # Only its programs are wanted: no cluster, no server.
    apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
    sed -ri 's/^#?(create_main_cluster) .*/\1 = false/' /etc/postgresql-common/createcluster.conf
fi
# The registry is started by the tests themselves, never as a service of the machine.
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
