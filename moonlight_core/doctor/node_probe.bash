#!/bin/bash
# What a session would find on this node, a line each: KEY TAB VALUE. Run as a short job by `moonlight doctor`; it
# changes nothing but a file and a folder of its own, which it removes. MOONLIGHT_* tell what to look at.
set -uo pipefail
umask 077

tell() { printf 'moonlight-doctor\t%s\t%s\n' "$1" "$(tr -s '\n\t ' ' ' <<<"${2:-ok}" | cut -c 1-300)"; }

# try KEY COMMAND...: "ok", or the last thing that a failing command said.
try() {
    local -r key=$1
    local words
    shift
    if words=$("$@" 2>&1); then
        tell "$key"
    else
        words=$(tail -n 1 <<<"$words")
        tell "$key" "failed: ${words:-no reason given}"
    fi
}

commands() {
    local name missing=()
    for name in scontrol squeue apptainer flock iconv pkill; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    tell missing "${missing[*]:-none}"
}

directory() {
    local -r probe=$1/.moonlight-doctor-$SLURM_JOB_ID
    mkdir "$probe" && touch "$probe/file" && rm -r "$probe"
}

# The fuse device must be open to everybody, or mounts of images need a set-uid Apptainer.
fuse() { [[ -r /dev/fuse && -w /dev/fuse ]] || { echo "/dev/fuse is missing or closed" && false; }; }

# TCP ports that somebody listens on; proc_net(5): state 0A is LISTEN.
listening() {
    awk '$4 == "0A" { n = split($2, a, ":"); print a[n] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        while read -r hex; do printf '%d\n' "0x$hex"; done | sort -un | paste -sd, -
}

in_image() {
    apptainer --quiet exec --pid --ipc --contain --cleanenv --no-home --writable-tmpfs "$MOONLIGHT_SIF" /bin/bash -c "$1" </dev/null
}

# shellcheck disable=SC2016 # expanded in the image
readonly x_server='
    mkdir -m 1777 -p /tmp/.X11-unix
    for n in $(seq "$LAST" -1 "$FIRST"); do
        exec 4> >(head -n 1 >/tmp/number)
        Xvfb ":$n" -screen 0 640x480x24 -nolisten tcp -noreset -displayfd 4 >/tmp/x.log 2>&1 & x=$!
        exec 4>&-
        for i in $(seq 50); do
            [ -s /tmp/number ] && { kill "$x"; exit 0; }
            kill -0 "$x" 2>/dev/null || break
            sleep 0.1
        done
        grep -qE "already active|Cannot establish" /tmp/x.log || break
    done
    tail -n 1 /tmp/x.log
    exit 1'

tell node "${SLURMD_NODENAME:-$(uname -n)}"
tell time "$(date +%s.%N)"
commands
try sandboxes directory "$MOONLIGHT_SANDBOXES"
try sessions directory "$MOONLIGHT_SESSIONS"
try home test -d "$HOME" -a -O "$HOME"
tell reserved "$(</proc/sys/net/ipv4/ip_local_reserved_ports) "
tell handed_out "$(</proc/sys/net/ipv4/ip_local_port_range)"
tell listening "$(listening) "
try controller scontrol ping
try userns unshare --user --map-root-user true
try fuse fuse
try image test -r "$MOONLIGHT_SIF"
try apptainer in_image true
try x_server in_image "FIRST=$MOONLIGHT_FIRST_DISPLAY LAST=$MOONLIGHT_LAST_DISPLAY; $x_server"
try dbus in_image 'exec dbus-run-session -- true'
tell end
