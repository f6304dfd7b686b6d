# bash completion of guest-pull(1) and guest-pulld(8).

# Those with "=" take a value.
_guest_pull_options=(--config= --policy= --bundle= --as= --identity= --registries= --registries-d= --authfile= --store= --platform= --plain-http=
    --decryption-key= --cert-dir= --rw-size= --timeout= --max-parallel= --allow-unencrypted-store --older-than= --until-free= --quarantine --receipts
    --discard --json --quiet --log-format= --verbose --version --help)
_guest_pull_sigstore_options=(--bundle= --certificate-identity= --certificate-oidc-issuer= --key= --trusted-root= --staging --json --help)
_guest_pulld_options=(--config= --listen= --upstream= --exec-upstream= --status= --guest-pull= --bundle-root= --pull-socket=
    --puller-option= --max-parallel= --timeout= --log-format= --verbose --version --help)

# Sets words to those of the line up to the cursor; the last one is being completed. COMP_WORDS will not do: bash takes words apart at
# ":" and "=" there.
_guest_pull_words() {
    local line=${COMP_LINE:0:COMP_POINT}
    # Without -r: a backslash protects a blank in a name.
    # shellcheck disable=SC2162
    read -a words <<<"$line"
    [[ $line != *[!\\][[:blank:]] ]] || words+=("")
}

# Those of $2… that begin with $1. No compgen -W: it would expand what a stored image is called.
_guest_pull_reply() {
    local current=$1 word
    shift
    for word; do
        [[ $word != "$current"* ]] || COMPREPLY+=("$word")
    done
}

# Paths that begin with $3, with $2 before them; $1 is -f for all, -d for directories.
_guest_pull_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -P "$2" "$1" -- "$3")
}

# Completes the value of option $1, with $2 before it, $3 so far; 1 if it is no option with a value.
_guest_pull_value() {
    case $1 in
        --policy | --registries | --authfile | --decryption-key | --config | -c | --guest-pull | --exec-upstream) _guest_pull_paths -f "$2" "$3" ;;
        --bundle | -b | --registries-d | --store | --cert-dir | --bundle-root) _guest_pull_paths -d "$2" "$3" ;;
        --platform) _guest_pull_reply "$2$3" "$2"linux/{amd64,arm64,s390x} ;;
        --log-format) _guest_pull_reply "$2$3" "$2"{text,json,journald} ;;
        --listen | --status | --pull-socket) _guest_pull_reply "$2$3" "$2unix:" ;;
        --upstream) _guest_pull_reply "$2$3" "$2unix:" "$2none" ;;
        --as | --identity | --plain-http | --rw-size | --timeout | --max-parallel | --puller-option | --older-than | --until-free) ;;
        *) return 1 ;;
    esac
}

# verify-bundle's own, which the word before them turns on.
_guest_pull_sigstore_value() {
    case $1 in
        --bundle | --key | --trusted-root) _guest_pull_paths -f "$2" "$3" ;;
        --certificate-identity | --certificate-oidc-issuer) ;;
        *) return 1 ;;
    esac
}

# Digests and references in the store that the line names.
_guest_pull_images() {
    local i store=()
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
            --store) store=(--store "${words[i + 1]}") ;;
            --store=*) store=("${words[i]}") ;;
        esac
    done
    "${words[0]/#\~/$HOME}" "${store[@]}" images 2>/dev/null | awk '{ print $1; print $NF }'
}

# What may stand at the cursor, $1, when it is no option; $2… are the words of the command so far.
_guest_pull_argument() {
    local current=$1 images
    shift
    case $* in
        '') _guest_pull_reply "$current" pull verify verify-bundle umount ref policy registries config images layers rm prune df fsck volume status ;;
        config) _guest_pull_reply "$current" show ;;
        registries) _guest_pull_reply "$current" resolve ;;
        volume) _guest_pull_reply "$current" open close status ;;
        policy) _guest_pull_reply "$current" check explain match ;;
        'policy check') _guest_pull_paths -f '' "$current" ;;
        status) _guest_pull_paths -f '' "$current" ;;
        umount) _guest_pull_paths -d '' "$current" ;;
        rm)
            mapfile -t images < <(_guest_pull_images)
            _guest_pull_reply "$current" "${images[@]}"
            ;;
        pull | verify | 'policy explain' | 'registries resolve')
            if [[ $current == oci:* || $current == dir:* ]]; then
                _guest_pull_paths -d "${current%%:*}:" "${current#*:}"
            else
                compopt -o nospace 2>/dev/null
                _guest_pull_reply "$current" docker:// oci: dir:
            fi
            ;;
    esac
}

_guest_pull_option() {
    local current=$1
    shift
    _guest_pull_reply "$current" "$@"
    [[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
}

# bash keeps what stands before the last ":" or "=" of the word, and wants only what follows.
_guest_pull_without_kept() {
    local i
    for ((i = ${#1}; i > 0; i--)); do
        if [[ ${1:i-1:1} == [:=] && $COMP_WORDBREAKS == *"${1:i-1:1}"* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${1:0:i}"}")
            return
        fi
    done
}

_guest_pull() {
    local words i current previous arguments=()
    COMPREPLY=()
    _guest_pull_words
    current=${words[-1]} previous=${words[-2]}
    if ((${#words[@]} > 2)) && [[ ${words[1]} == verify-bundle ]]; then
        if [[ $current == --*=* ]]; then
            _guest_pull_sigstore_value "${current%%=*}" "${current%%=*}=" "${current#*=}"
        elif [[ $current == -* ]]; then
            _guest_pull_option "$current" "${_guest_pull_sigstore_options[@]}"
        elif ! _guest_pull_sigstore_value "$previous" '' "$current"; then
            _guest_pull_paths -f '' "$current"
        fi
    elif [[ $current == --*=* ]]; then
        _guest_pull_value "${current%%=*}" "${current%%=*}=" "${current#*=}"
    elif [[ $current == -* ]]; then
        _guest_pull_option "$current" "${_guest_pull_options[@]}"
    elif [[ $previous != -* ]] || ! _guest_pull_value "$previous" '' "$current"; then
        for ((i = 1; i < ${#words[@]} - 1; i++)); do
            if [[ ${words[i]} != -* ]]; then
                arguments+=("${words[i]}")
            elif [[ ${words[i]} == -b || " ${_guest_pull_options[*]} " == *" ${words[i]}= "* ]]; then
                ((i++))
            fi
        done
        _guest_pull_argument "$current" "${arguments[@]}"
    fi
    _guest_pull_without_kept "$current"
}

_guest_pulld() {
    local words current previous
    COMPREPLY=()
    _guest_pull_words
    current=${words[-1]} previous=${words[-2]}
    if [[ $current == --*=* ]]; then
        _guest_pull_value "${current%%=*}" "${current%%=*}=" "${current#*=}"
    elif [[ $previous != -* ]] || ! _guest_pull_value "$previous" '' "$current"; then
        _guest_pull_option "$current" "${_guest_pulld_options[@]}"
    fi
    _guest_pull_without_kept "$current"
}

complete -F _guest_pull guest-pull
complete -F _guest_pulld guest-pulld
