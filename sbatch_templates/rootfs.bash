# On the node: what the root file system of the container is made of.
# A part of sunshine_session.sbatch, which tells about the whole; moonlight_core/shipped.py puts it in.
# shellcheck shell=bash disable=SC2154,SC2034 # variables of the other parts; the whole is checked, too

# prepare_root: what the container's root is made of, in the array "root".
prepare_root() {
    local -r own=$MOONLIGHT_SANDBOXES/$(id -un)_$MOONLIGHT_IMAGE_ID
    root=()
    [[ -e $MOONLIGHT_SIF ]] || fail image_missing "The image $MOONLIGHT_SIF is missing on this node. Tell the administrators."
    [[ -r $MOONLIGHT_SIF ]] || fail image_missing "The image $MOONLIGHT_SIF cannot be read by $(id -un). Tell the administrators."
    if [[ $MOONLIGHT_ROOTFS == readonly ]]; then
        root=(--writable-tmpfs "$MOONLIGHT_SIF")
        return
    fi
    try mkdir -p "$own" || fail sandbox_failed "$own cannot be made: $why. Tell the administrators."
    [[ ! -L $own && -O $own ]] || fail sandbox_failed "$own belongs to somebody else: it must be a directory of $(id -un)."
    if [[ $MOONLIGHT_ROOTFS == overlay ]]; then
        prepare_overlay "$own"
    else
        prepare_sandbox "$own"
    fi
}

# prepare_overlay DIR: the image with a writable layer; a layer serves one session at a time.
prepare_overlay() {
    try mkdir -p "$1/overlay" || fail sandbox_failed "$1 cannot be written: $why."
    try touch "$1/overlay.lock" || fail sandbox_failed "$1 cannot be written: $why."
    exec {layer_lock}>"$1/overlay.lock"
    if flock --nonblock "$layer_lock"; then
        root=(--overlay "$1/overlay" "$MOONLIGHT_SIF")
    else
        log "another session of yours uses the writable layer: changes to the system are lost here"
        root=(--writable-tmpfs "$MOONLIGHT_SIF")
    fi
}

# prepare_sandbox DIR: the image unpacked, once for each user and version of the image.
prepare_sandbox() {
    local -r sandbox=$1/root made_from=$1/made-from
    local version build_lock answer
    version="$MOONLIGHT_SIF $(stat -Lc '%s %Y' "$MOONLIGHT_SIF")"
    try touch "$1/build.lock" "$1/use.lock" || fail sandbox_failed "$1 cannot be written: $why."
    exec {build_lock}>"$1/build.lock" {use_lock}>"$1/use.lock"
    if ! flock --nonblock "$build_lock"; then
        report unpacking_image "Waiting for another session of yours that unpacks the image."
        flock "$build_lock"
    fi
    if [[ ! -d $sandbox || $(cat "$made_from" 2>/dev/null) != "$version" ]]; then
        # Live sessions hold use.lock: a sandbox in use is not replaced under them.
        if [[ ! -d $sandbox ]] || flock --nonblock "$use_lock"; then
            report unpacking_image "Unpacking the image, once for you and this image."
            rm -rf "$sandbox.new"
            if ! answer=$(apptainer --quiet build --sandbox "$sandbox.new" "$MOONLIGHT_SIF" 2>&1 | tail -n 5 | cut -c 1-300); then
                rm -rf "$sandbox.new"
                log "$answer"
                fail sandbox_failed "The image $MOONLIGHT_SIF could not be unpacked into $1; is it whole, and is there space and quota left?" \
                    "$answer"
            fi
            rm -rf "$sandbox"
            mv "$sandbox.new" "$sandbox"
            printf '%s\n' "$version" >"$made_from"
        else
            log "the image is newer than your sandbox, which another session of yours uses: keeping it"
        fi
    fi
    flock --shared "$use_lock"
    exec {build_lock}>&-
    make_bind_targets "$sandbox"
    root=(--writable "$sandbox")
}

# make_bind_targets ROOT: a writable sandbox gets no layer in which Apptainer could make them.
make_bind_targets() {
    local bind target binds
    mkdir -p "$1/session" "$1/$HOME"
    IFS=, read -ra binds <<<"$MOONLIGHT_BINDS"
    for bind in "${binds[@]}"; do
        target=${bind#*:}
        target=${target%%:*}
        if [[ -f ${bind%%:*} ]]; then
            mkdir -p "$1/$(dirname "$target")"
            touch "$1/$target"
        else
            mkdir -p "$1/$target"
        fi
    done
}
