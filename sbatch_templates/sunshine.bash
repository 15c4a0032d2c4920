# In the container: Sunshine's start, when it is ready, and the watch while it runs.
# A part of sunshine_session.sbatch, which tells about the whole; moonlight_core/shipped.py puts it in.
# shellcheck shell=bash disable=SC2154,SC2034 # variables of the other parts; the whole is checked, too

start_sunshine() {
    local uuid
    say "phase starting_sunshine Starting Sunshine."
    # Moonlight knows a host by this id, and pins its certificate.
    uniqueid=$(grep -oE '"uniqueid": ?"[0-9A-Fa-f-]{36}"' "$identity/state.json" 2>/dev/null | cut -d '"' -f 4) || true
    if [[ -z $uniqueid ]]; then
        read -r uuid </proc/sys/kernel/random/uuid
        uniqueid=${uuid^^}
        printf '{"root":{"uniqueid":"%s"}}\n' "$uniqueid" >"$identity/state.json"
    fi
    printf '%s\n' "$MOONLIGHT_APPS" >"$config/apps.json"
    cat >"$config/sunshine.conf" <<-END
		$(known_options)
		sunshine_name = $(id -un)-$MOONLIGHT_IMAGE_ID-$node
		port = $port
		file_apps = $config/apps.json
		file_state = $identity/state.json
		credentials_file = $config/credentials.json
		log_path = $config/sunshine.log
		pkey = $identity/key.pem
		cert = $identity/cert.pem
		global_prep_cmd = [{"do":"/bin/bash /session/session.bash resolution follow","undo":"/bin/bash /session/session.bash resolution restore"}]
	END
    run_sunshine
}

# known_options: those that this Sunshine knows, of the lines from moonlight_core/sunshine_conf.py:
# "first version, key = value".
known_options() {
    local version=$MOONLIGHT_SUNSHINE_VERSION since option
    [[ -n $version ]] || version=$(XDG_CONFIG_HOME=$config sunshine --version 2>&1 | version_in)
    while read -r since option; do
        if [[ $since == - || -z $version ]] || printf '%s\n' "$since" "$version" | sort -V -C; then
            printf '%s\n' "$option"
        else
            log "left out, Sunshine $version does not know it: $option"
        fi
    done <<<"$MOONLIGHT_SUNSHINE_OPTIONS"
}

# version_in: of Sunshine, as its log on standard input tells it.
version_in() { sed -n 's/.*Sunshine version: v\{0,1\}\([0-9][0-9A-Za-z.+-]*\).*/\1/p;T;q'; }

run_sunshine() {
    XDG_CONFIG_HOME=$config start sunshine sunshine "$config/sunshine.conf"
    sunshine=$started
    clients=0 connections=0 stream_state=free worked=''
}

# wait_until_ready: our own Sunshine owns its ports, answers as itself, and found an encoder. Else
# false, with a word in "why" and a sentence in "explained".
wait_until_ready() {
    local -r deadline=$((SECONDS + MOONLIGHT_START_TIMEOUT_S)) output=$logs/sunshine.log
    local missing lives text
    while :; do
        # One look for all questions, and after the one whether it lives: what it says last counts.
        lives=yes
        alive "$sunshine" || lives=''
        text=$(cat "$output" 2>/dev/null) || true # it may not be there yet
        if grep -qE "Fatal.*(Couldn't (start|bind))" <<<"$text"; then
            # It often exits with 0, and as often hangs half alive.
            not_ready port_lost "Sunshine found a port taken: $(logged "Couldn't (start|bind)")"
            return 1
        fi
        if grep -q 'Unable to find display or encoder during startup' <<<"$text"; then
            if grep -qE 'Could not open X11 display|Unable to initialize capture method' <<<"$text"; then
                not_ready display_not_captured "Sunshine cannot capture the display: $(logged 'Could not open X11 display|Unable to initialize capture method')"
            else
                not_ready encoder_missing "Sunshine has found no encoder that works, not even one in software."
            fi
            return 1
        fi
        if grep -q "Couldn't find any working encoder matching" <<<"$text"; then
            not_ready encoder_missing "The encoder $MOONLIGHT_ENCODER does not work on $node. With the encoder auto Sunshine takes what there is."
            return 1
        fi
        if grep -q 'Fatal: ' <<<"$text"; then
            not_ready sunshine_failed "Sunshine cannot go on: $(logged 'Fatal: ')"
            return 1
        fi
        if [[ -z $lives ]]; then
            not_ready sunshine_failed "Sunshine ended while it started: $(tail -n 1 "$output" | cut -c 1-200)"
            return 1
        fi
        alive "$x" || failed x x_server_died "The X server ended while the session started: $(tail -n 1 "$logs/x.log")"
        missing=$(not_ready_yet)
        [[ -n $missing ]] || return 0
        if ((SECONDS >= deadline)); then
            not_ready sunshine_not_ready "Sunshine was not ready in $MOONLIGHT_START_TIMEOUT_S s: $missing."
            return 1
        fi
        sleep 0.1
    done
}

not_ready() { why=$1 explained=$2; }

# logged PATTERN: the first line of Sunshine's log that fits, without its time.
logged() { grep -m 1 -E "$1" "$logs/sunshine.log" | sed 's/^\[[^]]*\]: //' | cut -c 1-200; }

# not_ready_yet: what is still missing, or nothing; Sunshine's log so far is in "text".
not_ready_yet() {
    local offset inode own
    # In the same look: what it says against the encoder comes before.
    grep -qE 'Found (H.264|HEVC|AV1) encoder' <<<"$text" || {
        printf 'it has found no encoder'
        return
    }
    own=$(find "/proc/$sunshine/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null) || true
    for offset in "${TCP_OFFSETS[@]}"; do
        inode=$(listening_inode "$((port + offset))")
        if [[ -z $inode ]] || ! grep -qxF "socket:[$inode]" <<<"$own"; then
            printf 'TCP port %d is not its own' "$((port + offset))"
            return
        fi
    done
    answers 2 || printf '/serverinfo does not answer as this session'
}

# answers SECONDS: whether Sunshine answers in time as this session's. False is curl's own status.
answers() {
    curl --silent --max-time "$1" --noproxy '*' --output /session/serverinfo "http://127.0.0.1:$port/serverinfo" &&
        grep -q "<uniqueid>$uniqueid</uniqueid>" /session/serverinfo
}

# certificate_fingerprint: SHA-256 of the certificate that Sunshine shows on its ports. By it the
# service knows this Sunshine from anybody else's process.
certificate_fingerprint() {
    openssl x509 -in "$identity/cert.pem" -noout -fingerprint -sha256 |
        sed 's/.*=//; s/://g' | tr '[:upper:]' '[:lower:]'
}

# listening_inode PORT: the inode of the socket that listens there; proc_net(5): state 0A is LISTEN.
listening_inode() {
    local hex
    printf -v hex '%04X' "$1"
    awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
        /proc/net/tcp /proc/net/tcp6
}

# watch_over: until one of those that make up a session ends, or Sunshine cannot be kept going.
watch_over() {
    local ended status beat='' misses=0
    while :; do
        # The beat looks once whether Sunshine answers, after a pause.
        if [[ -z $beat ]]; then
            (sleep "$MOONLIGHT_WATCH_S" 3>&- && answers "$MOONLIGHT_WATCH_TIMEOUT_S") &
            beat=$!
        fi
        wait_for_an_end "$x" "$desktop" "$sunshine" "$beat"
        case ${ended-} in
            "$x") failed x x_server_died "The X server $(ended_how "$status")." ;;
            "$desktop")
                ((status == 0)) || failed desktop desktop_failed "The desktop $(ended_how "$status")."
                say "closed The desktop was closed."
                exit 0
                ;;
            "$sunshine")
                keep_going sunshine_died "Sunshine $(ended_how "$status")."
                misses=0
                ;;
            "$beat")
                beat=''
                if ((status == 0)); then
                    misses=0
                    look_who_is_there
                elif look_at_work && ((++misses >= MOONLIGHT_WATCH_MISSES * patience)); then
                    keep_going sunshine_hung "Sunshine $(unanswered "$status") $misses times in a row."
                    misses=0
                fi
                ;;
        esac
    done
}

# wait_for_an_end PID…: sets "ended" and "status". What ended while bash was at work on something else
# is no job any more for "wait -n"; "wait" with its process id still knows how it ended.
wait_for_an_end() {
    status=0 ended=''
    for ended; do
        if ! alive "$ended"; then
            wait "$ended" || status=$?
            return
        fi
    done
    wait -n -p ended "$@" 2>/dev/null || status=$?
}

# unanswered STATUS: what curl's status means (curl(1), exit codes).
unanswered() {
    case $1 in
        7) printf 'took no connections' ;;
        28) printf 'did not answer within %d s' "$MOONLIGHT_WATCH_TIMEOUT_S" ;;
        *) printf 'did not answer as it should' ;;
    esac
}

# look_at_work: sets "patience". A Sunshine that streams and takes processor time is slow, not hung,
# and its client would lose a stream that works.
look_at_work() {
    local -r before=$worked
    # proc_pid_stat(5): fields 14 and 15, counted after the name in parentheses.
    worked=$(sed 's/.*) //' "/proc/$sunshine/stat" 2>/dev/null | awk '{ print $12 + $13 }') || true
    patience=1
    if ((clients > 0)) && [[ $worked != "$before" ]]; then
        patience=$BUSY_PATIENCE
    fi
}

# keep_going CODE REASON: start Sunshine again, a bounded number of times in a row; nothing else is touched.
keep_going() {
    local code=$1 reason=$2
    ((SECONDS - restarted_at < CALM_S)) || row=0
    while ((row < MOONLIGHT_SUNSHINE_RESTARTS)); do
        row=$((row + 1)) restarts=$((restarts + 1)) restarted_at=$SECONDS
        say "fact restarts $restarts"
        # A hung one has said nothing of those who left.
        ((clients == 0)) || say "fact seen $EPOCHSECONDS"
        say "fact clients 0"
        say "fact stream free"
        say "phase restarting_sunshine $reason It is started again ($row of $MOONLIGHT_SUNSHINE_RESTARTS); the desktop goes on."
        end_sunshine
        # One that was killed could not undo it.
        set_resolution "$MOONLIGHT_WIDTH" "$MOONLIGHT_HEIGHT" || true
        mv "$logs/sunshine.log" "$logs/sunshine-$restarts.log"
        run_sunshine
        if wait_until_ready; then
            say "phase ready Sunshine was started again; connect with Moonlight."
            return
        fi
        code=$why reason=$explained
    done
    failed sunshine "$code" "$reason It was started again $row times, as often as is allowed."
}

# end_sunshine: a hung one does not heed SIGTERM.
end_sunshine() {
    local tries
    kill -TERM -- "-$sunshine" 2>/dev/null || true
    for ((tries = 0; tries < 30; tries++)); do
        alive "$sunshine" || break
        sleep 0.1
    done
    kill -KILL -- "-$sunshine" 2>/dev/null || true
    wait "$sunshine" 2>/dev/null || true
}

# look_who_is_there: how many clients stream, and when somebody last did; told when it changes.
look_who_is_there() {
    local -r before="$clients $connections $stream_state"
    local gone hex
    connections=$(grep -c 'CLIENT CONNECTED' "$logs/sunshine.log") || true
    gone=$(grep -c 'CLIENT DISCONNECTED' "$logs/sunshine.log") || true
    # Whoever streams has the control port bound.
    printf -v hex '%04X' "$((port + 10))"
    clients=0
    if awk -v port=":$hex" 'substr($2, length($2) - 4) == port { found = 1 } END { exit !found }' \
        /proc/net/udp /proc/net/udp6; then
        clients=$((connections > gone ? connections - gone : 0))
    fi
    stream_state=free
    ! grep -q SUNSHINE_SERVER_BUSY /session/serverinfo || stream_state=busy
    [[ "$clients $connections $stream_state" != "$before" ]] || return 0
    [[ "$clients $connections" == "${before% *}" ]] || say "fact seen $EPOCHSECONDS"
    say "fact clients $clients"
    say "fact stream $stream_state"
    say facts
}

# ended_how STATUS: bash(1) adds 128 to the number of a signal.
ended_how() {
    if (($1 > 128)); then
        printf 'was ended by signal %d (%s)' "$(($1 - 128))" "$(kill -l "$(($1 - 128))")"
    else
        printf 'ended with status %d' "$1"
    fi
}
