# In the container: the X server, the desktop and what belongs to it, from start to end.
# A part of sunshine_session.sbatch, which tells about the whole; moonlight_core/shipped.py puts it in.
# shellcheck shell=bash disable=SC2154,SC2034 # variables of the other parts; the whole is checked, too

say() { printf '%s\n' "$*" >&3; }

inside() {
    exec 3>&1 1>&2 </dev/null
    prepare_inside
    export XDG_RUNTIME_DIR=/session/run XDG_SESSION_TYPE=x11 LANG=$MOONLIGHT_LOCALE SHELL=/bin/bash
    [[ -z $MOONLIGHT_TIME_ZONE ]] || export TZ=$MOONLIGHT_TIME_ZONE
    export DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
    unset WAYLAND_DISPLAY
    x='' bus='' audio='' sunshine='' desktop='' restarts=0 row=0 restarted_at=0
    trap end_inside EXIT
    trap 'exit 143' TERM INT HUP
    listen_to_the_script &
    spread_process_ids
    start_x
    set_keyboard
    start_bus
    start_audio
    start_sunshine
    start_desktop
    if ! wait_until_ready; then
        # What holds the port is in the way of this slot, not of the session.
        [[ $why != port_lost ]] || busy port "$explained"
        failed sunshine "$why" "$explained"
    fi
    say "cert $(certificate_fingerprint)"
    say "fact version $(version_in <"$logs/sunshine.log")"
    say "fact uinput $([[ -w /dev/uinput ]] && printf yes || printf no)"
    say "phase ready The desktop is ready; connect with Moonlight."
    watch_over
}

# prepare_inside: what every way into the container's half needs to know.
prepare_inside() {
    readonly config=/session/config logs=/session/log
    export DISPLAY=:$display XAUTHORITY=/session/xauthority ICEAUTHORITY=/session/iceauthority
}

# end_inside: in this order, so that Sunshine closes its streams while there is still a display.
end_inside() {
    local -r status=$?
    trap - EXIT
    trap '' TERM INT HUP
    set +e
    local pid
    for pid in $sunshine $desktop $audio $bus $x; do
        kill -TERM -- "-$pid" "$pid" 2>/dev/null
    done
    for ((pid = 0; pid < 40; pid++)); do
        # shellcheck disable=SC2086 # words
        kill -0 $sunshine $x 2>/dev/null || break
        sleep 0.1
    done
    exit "$status" # we are process 1: with us the kernel ends whatever is left
}

# spread_process_ids: session managers listen on the abstract socket @/tmp/.ICE-unix/<process id>, which
# all containers of a node share while each counts its processes from 1. Beginning elsewhere for each
# display keeps them apart (Xtranssock.c of libICE).
spread_process_ids() {
    local count
    for ((count = (display - FIRST_DISPLAY) * 50; count > 0; count--)); do
        (:)
    done
}

# listen_to_the_script: what the half on the node tells, a line each. A batch script that was killed
# could tell nobody; the end of the pipe does.
listen_to_the_script() {
    trap - EXIT TERM
    local about what
    exec 5</session/alive
    while read -r about what <&5; do
        case $about in
            idle) show_idle_end "$what" & ;;
            left) show_time_left "$what" & ;;
            shot) take_picture "$what" & ;;
        esac
    done
    kill -TERM "$$"
}

# notify ABOUT [TITLE TEXT]: a notice in the desktop, in place of the last one about the same; without a
# title that one is closed.
notify() {
    local -r file=/session/notice-$1
    local id=''
    [[ -s $file ]] && id=$(<"$file")
    if [[ -z ${2-} ]]; then
        rm -f "$file"
        [[ -n $id ]] || return 0
        # A signal is what dbus-send sends if nothing is said.
        timeout 10 dbus-send --session --type=method_call --print-reply=literal --dest=org.freedesktop.Notifications \
            /org/freedesktop/Notifications org.freedesktop.Notifications.CloseNotification "uint32:$id" &&
            log "the notice is gone: $1"
        return
    fi
    if id=$(timeout 10 notify-send --print-id ${id:+"--replace-id=$id"} --urgency=critical \
        --app-name=Moonlight --icon=dialog-warning "$2" "$3"); then
        printf '%s\n' "$id" >"$file"
        log "shown in the desktop: $2"
    else
        log "the desktop shows no notices: $2"
    fi
}

# show_idle_end TIME: it ends then (Unix seconds) unless somebody connects; without a time the notice goes.
show_idle_end() {
    local at
    if [[ -z $1 ]]; then
        notify idle || log "the notice of the end could not be closed"
        return
    fi
    printf -v at '%(%H:%M)T' "$1"
    notify idle "This desktop ends at $at" "Nobody is connected to it. It goes on as soon as somebody is."
}

# show_time_left SECONDS: until the job's time limit, in minutes, or "soon".
show_time_left() {
    local in=soon
    [[ $1 == soon ]] || in="in $((($1 + 30) / 60)) min"
    notify left "This desktop ends $in" "Its time limit is near: save your work."
}

# take_picture NUMBER: of the desktop, as a file that the service fetches as its user. It is there
# whole or not at all, and not for long.
take_picture() {
    local -r file=/session/pictures/$1
    local answer
    mkdir -p /session/pictures
    if answer=$(timeout 5 maim --format=png --quality=3 "$file.part" 2>&1); then
        mv "$file.part" "$file.png"
    else
        printf '%s\n' "${answer:-The X server did not answer.}" >"$file.part"
        mv "$file.part" "$file.failed"
    fi
    sleep 15
    rm -f "$file".*
}

# start NAME COMMAND…: in a process group and with a log of its own; its pid is in "started".
start() {
    local -r name=$1
    shift
    set -m
    "$@" >"$logs/$name.log" 2>&1 3>&- &
    started=$!
    set +m
}

alive() { [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; }

# failed NAME CODE REASON: the end; whose log tells more, and why in a word and in a sentence.
failed() {
    say "failed $*"
    exit 1
}

busy() {
    say "busy $*"
    exit "$EX_TEMPFAIL"
}

start_x() {
    local cookie
    say "phase starting_x Starting the X server."
    cookie=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    # On standard input: arguments are everybody's to see.
    printf 'add :%d . %s\n' "$display" "$cookie" | xauth -q -f "$XAUTHORITY" source - 2>/dev/null
    mkdir -m 1777 /tmp/.X11-unix /tmp/.ICE-unix
    # Both servers take new resolutions up to the size they began with.
    run_x "$MOONLIGHT_MAX_WIDTH" "$MOONLIGHT_MAX_HEIGHT"
    if set_resolution "$MOONLIGHT_WIDTH" "$MOONLIGHT_HEIGHT"; then
        return
    elif [[ $MOONLIGHT_X_SERVER == xorg ]]; then
        log "this X server does not take ${MOONLIGHT_WIDTH}x$MOONLIGHT_HEIGHT: the desktop is as large as its configuration says"
    else
        log "this X server cannot change its resolution: it begins again with the right one"
        kill -TERM "$x"
        wait "$x" || true
        run_x "$MOONLIGHT_WIDTH" "$MOONLIGHT_HEIGHT"
    fi
}

# run_x WIDTH HEIGHT: the X server, as soon as it takes clients.
run_x() {
    local number ready
    local command=(-auth "$XAUTHORITY" -nolisten tcp -noreset -displayfd 4 -dpi 96)
    if [[ $MOONLIGHT_X_SERVER == xorg ]]; then
        [[ -e /session/xorg.conf ]] || write_xorg_conf "$1" "$2"
        command=(Xorg ":$display" -config /session/xorg.conf -logfile "$logs/xorg.log" -novtswitch -sharevts
            "${command[@]}")
    else
        command=(Xvfb ":$display" -screen 0 "${1}x${2}x24" "${command[@]}")
    fi
    # It says its display number when it is ready for clients (Xserver(1), -displayfd).
    rm -f /session/x-ready
    mkfifo /session/x-ready
    exec 4<>/session/x-ready
    start x "${command[@]}"
    x=$started
    ready=$((SECONDS + MOONLIGHT_START_TIMEOUT_S))
    while ! read -r -t 0.2 -u 4 number; do
        if ! alive "$x"; then
            grep -qE 'already active|Cannot establish any listening' "$logs/x.log" &&
                busy display "A foreign X server on this node holds display :$display."
            failed x x_server_failed "The X server did not start: $(tail -n 1 "$logs/x.log")"
        fi
        ((SECONDS < ready)) || failed x x_server_failed "The X server was not ready in time."
    done
    exec 4>&-
    log "X server ready on display :$number"
}

# write_xorg_conf WIDTH HEIGHT: an Xorg without hardware. Modes come by xrandr; input by XTest.
write_xorg_conf() {
    cat >/session/xorg.conf <<-END
		Section "ServerFlags"
		    Option "AutoAddDevices" "false"
		    Option "AutoAddGPU" "false"
		    Option "BlankTime" "0"
		    Option "DontVTSwitch" "true"
		EndSection
		Section "Device"
		    Identifier "moonlight"
		    Driver "dummy"
		    VideoRam $(($1 * $2 * 4 / 1024 + 1024))
		EndSection
		Section "Monitor"
		    Identifier "moonlight"
		    HorizSync 1-2000
		    VertRefresh 1-300
		EndSection
		Section "Screen"
		    Identifier "moonlight"
		    Device "moonlight"
		    Monitor "moonlight"
		    DefaultDepth 24
		    SubSection "Display"
		        Depth 24
		        Virtual $1 $2
		    EndSubSection
		EndSection
	END
}

# set_resolution WIDTH HEIGHT: of the only screen there is.
set_resolution() {
    local -r mode=moonlight-$1x$2
    local output
    output=$(xrandr | awk '$2 == "connected" { print $1; exit }')
    [[ -n $output ]] || return 1
    # A driver of real hardware has modes of its own.
    xrandr --output "$output" --mode "$1x$2" 2>/dev/null && return 0
    # What is no hardware needs no blanking. The mode is there already when it was used before.
    xrandr --newmode "$mode" "$(($1 * $2 * MOONLIGHT_FPS / 1000000 + 1))" "$1" "$1" "$1" "$1" "$2" "$2" "$2" "$2" \
        2>/dev/null || true
    xrandr --addmode "$output" "$mode" && xrandr --output "$output" --mode "$mode"
}

# resolution follow|restore: called by Sunshine when an application begins for a client, and when it
# ends. Whatever comes of it, the client gets its stream.
resolution() {
    prepare_inside
    exec >>"$logs/resolution.log" 2>&1
    local width=$MOONLIGHT_WIDTH height=$MOONLIGHT_HEIGHT
    if [[ $1 == follow ]]; then
        width=${SUNSHINE_CLIENT_WIDTH-} height=${SUNSHINE_CLIENT_HEIGHT-}
        if [[ ! "$width $height" =~ ^[1-9][0-9]{2,4}\ [1-9][0-9]{2,4}$ ]]; then
            log "the client does not tell its resolution"
            exit 0
        fi
        if ((width > MOONLIGHT_MAX_WIDTH || height > MOONLIGHT_MAX_HEIGHT)); then
            log "the client has ${width}x$height, the desktop stays: it goes up to ${MOONLIGHT_MAX_WIDTH}x$MOONLIGHT_MAX_HEIGHT"
            exit 0
        fi
    fi
    if set_resolution "$width" "$height"; then
        log "the desktop has ${width}x$height now"
    else
        log "this X server does not take ${width}x$height: the desktop stays as it is"
    fi
    exit 0
}

# set_keyboard: what a client's keys mean; "us(intl)" is a layout with a variant.
set_keyboard() {
    [[ -n $MOONLIGHT_KEYBOARD ]] || return 0
    local -r layout=${MOONLIGHT_KEYBOARD%%(*}
    local variant=${MOONLIGHT_KEYBOARD#"$layout"}
    variant=${variant#(}
    setxkbmap -layout "$layout" -variant "${variant%)}" ||
        log "the image has no keyboard layout $MOONLIGHT_KEYBOARD"
}

# start_bus: one session bus for all; without one each program would launch its own.
start_bus() {
    start bus dbus-daemon --session --nofork --nopidfile --address="$DBUS_SESSION_BUS_ADDRESS"
    bus=$started
    until [[ -S $XDG_RUNTIME_DIR/bus ]]; do
        alive "$bus" || failed bus bus_failed "The D-Bus session bus did not start: $(tail -n 1 "$logs/bus.log")"
        sleep 0.02
    done
}

start_desktop() {
    say "phase starting_desktop Starting the desktop."
    cd "$HOME" || cd /
    start desktop /bin/bash -c "exec $MOONLIGHT_DESKTOP"
    desktop=$started
    cd /
}

start_audio() {
    if [[ $MOONLIGHT_AUDIO != yes ]]; then
        log "the session is silent, as was asked for"
    elif command -v pulseaudio >/dev/null; then
        # Without the default script, which looks for hardware and a system bus that are not here.
        export PULSE_COOKIE=/session/pulse-cookie
        start audio pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no \
            --load="module-null-sink sink_name=desktop" --load=module-native-protocol-unix
        audio=$started
    else
        log "the image has no PulseAudio: the session is silent"
    fi
}
