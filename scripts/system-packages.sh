#!/usr/bin/env bash
# Install the Debian packages that neargate needs, and only those that are missing.
# Usage: system-packages.sh run|microvm|test|bench. Called by the Makefile.
set -euo pipefail

run=(
    python3-venv                     # the virtualenv
    crun runc                        # OCI runtimes of the process tier
    runsc                            # the gVisor tier
    nftables iproute2                # NAT and isolation of the tasks' interfaces
    erofs-utils                      # images as read-only file systems
    e2fsprogs                        # tasks' ephemeral storage
    tini                             # initProcessEnabled
    libseccomp2 golang-github-containers-common  # the default seccomp profile
    busybox-static skopeo curl jq ca-certificates # the quick start
    awscli                           # version 2 of the CLI: `aws logs tail`, which PyPI's version 1 lacks
)
microvm=(qemu-system-x86)                # virtual machines (14 MB, 7 s); for their kernel, see below
test=(
    docker-registry apache2-utils openssl  # a foreign registry with TLS and htpasswd
    postgresql                             # prepares every statement of the store: nothing only SQLite has
)
bench=(wrk podman umoci docker.io)                     # what the benchmarks compare with

case "${1:-}" in
    run) wanted=("${run[@]}") ;;
    microvm) wanted=("${microvm[@]}") ;;
    test) wanted=("${test[@]}") ;;
    bench) wanted=("${bench[@]}") ;;
    *) echo "usage: $0 run|microvm|test|bench" >&2; exit 2 ;;
esac

# The guests' kernel is unpacked and not installed, which would make it this machine's own (27 MB, 2 s).
guest_kernel() {
    local place=/var/lib/neargate-guest-kernel scratch package
    compgen -G "/boot/vmlinuz-*-cloud-amd64" >/dev/null && return
    compgen -G "$place/boot/vmlinuz-*-cloud-amd64" >/dev/null && return
    if [ "$(id -u)" != 0 ]; then
        echo "the kernel of microVMs is missing: sudo $0 microvm" >&2
        exit 1
    fi
    echo "unpacking linux-image-cloud-amd64 to $place"
    [ -n "$(apt-cache search --names-only '^linux-image-cloud-amd64$')" ] || apt-get update -qq
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    scratch=$(mktemp -d)
    (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg-deb -x ./*.deb new)
    rm -rf "$place" && mv "$scratch/new" "$place"
    rm -rf "$scratch"
}
[ "${1:-}" != microvm ] || guest_kernel

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
