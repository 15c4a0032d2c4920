# What an image is made of: the mirrors, and the package of Sunshine. Sourced by definitions/build,
# whose die, say and settings it uses.
# shellcheck shell=bash disable=SC2154,SC2034 # those settings are assigned, and read, over there

# Prints the default that the definition itself gives to an argument.
definition_argument() {
    sed -n "/^%arguments/,/^%[^a]/s/^[[:space:]]*$1=//p" "$definition" | head -n 1
}

# Prints "URI SUITE" for each binary source in this machine's apt configuration.
apt_sources() {
    command -v apt-get >/dev/null || return 0
    # Asking apt itself covers both file formats and every option that moves them.
    # shellcheck disable=SC2016 # $(SITE) is for apt to fill in, not for the shell
    apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 2>/dev/null | sort -u
}

find_mirrors() {
    local sources site suite
    sources=$(apt_sources)
    mirror_kind=given security_kind=given
    if [[ -z $mirror ]]; then
        mirror_kind='apt configuration'
        while read -r site suite; do
            [[ $site == http*/debian && $suite != *-* ]] && mirror=$site && break
        done <<<"$sources"
        [[ -n $mirror ]] ||
            die "$exit_mirror" "found no Debian mirror in this machine's apt configuration; give one with --debian-mirror URL"
    fi
    if [[ -z $security ]]; then
        security_kind='apt configuration' security=none
        while read -r site suite; do
            [[ $site == http* && $suite == *-security ]] && security=$site && break
        done <<<"$sources"
    fi
    [[ $security != none ]] || security_kind=none
    # Only a mirror by https needs certificates before anything else can be fetched from it.
    bootstrap_include=apt
    [[ $mirror$security != *https://* ]] || bootstrap_include=ca-certificates
    check_valid_until=true
    if command -v apt-config >/dev/null; then
        local APT_CHECK=true
        eval "$(apt-config shell APT_CHECK Acquire::Check-Valid-Until/b)"
        check_valid_until=$APT_CHECK
    fi
}

fetch_tool() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --retry 2 --connect-timeout 10 --output "$2" "$1"
    else
        wget --quiet --tries=3 --timeout=20 --output-document="$2" "$1"
    fi
}

check_mirror() {
    local -r address=$1 suite=$2 option=$3
    local words
    words=$(fetch_tool "$address/dists/$suite/Release" /dev/null 2>&1) ||
        die "$exit_mirror" "cannot reach the Debian mirror: $address/dists/$suite/Release: ${words##*$'\n'}; name another with $option URL"
}

# Leaves the package at $deb and says what it is in $deb_version and $deb_sum.
get_package() {
    local source=file wanted=$sum
    if [[ -z $deb ]]; then
        source=download
        local -r default_version=$(definition_argument sunshine_version)
        version=${version:-$default_version}
        if [[ -z $wanted ]]; then
            [[ $version == "$default_version" && -z $url ]] ||
                die "$exit_usage" "give the checksum of what is to be downloaded: --sunshine-sha256 SUM"
            wanted=$(definition_argument sunshine_sha256)
        fi
        if [[ -z $url ]]; then
            url=$(definition_argument sunshine_url)
            url=${url//"$default_version"/"$version"}
        fi
        deb=$work/sunshine.deb
        say "downloading Sunshine $version"
        local words
        words=$(fetch_tool "$url" "$deb" 2>&1) ||
            die "$exit_package" "cannot download $url: ${words##*$'\n'}; where releases cannot be reached, give the package with --sunshine-deb FILE"
    fi
    [[ -r $deb && -f $deb ]] || die "$exit_package" "cannot read the package $deb"
    deb=$(cd "$(dirname "$deb")" && pwd)/$(basename "$deb")
    [[ $deb != *[[:space:]]* ]] || die "$exit_package" "the path of the package must hold no spaces: $deb"
    deb_sum=$(sha256sum "$deb")
    deb_sum=${deb_sum%% *}
    [[ -z $wanted || $deb_sum == "$wanted" ]] ||
        die "$exit_package" "the checksum of ${url:-$deb} is $deb_sum, it should be $wanted: the file is damaged, or not the one that was meant"
    local package=''
    if command -v dpkg-deb >/dev/null; then
        package=$(dpkg-deb --field "$deb" Package 2>/dev/null) || package=''
        [[ $package == sunshine ]] ||
            die "$exit_package" "$deb is not a package of Sunshine (it is ${package:-no Debian package at all})"
        deb_version=$(dpkg-deb --field "$deb" Version)
    else
        # Without dpkg the image's own dpkg finds out.
        [[ $(head -c 7 "$deb") == '!<arch>' ]] || die "$exit_package" "$deb is no Debian package at all"
        deb_version=${version:-unknown}
    fi
    package_source=$source
}
