# Speaks with the boot service. To be read by a script that has $url and $token; where nothing is said of it, the answer is
# thrown away, and a try may take as long as it likes ($answer, $limit).

talk() { # talk PATH [FILE]: asks, or sends FILE. Fails with what was answered instead in $said
    said=
    ${limit:+timeout "$limit"} wget -q -O "${answer:-/dev/null}" --header "Authorization: Bearer $token" \
        --header 'Content-Type: application/json' ${2:+--post-file "$2"} "$url$1" 2>"${2:-/run/talk}.log" && return 0
    read -r said <"${2:-/run/talk}.log"
    return 1
}

send() { # send PATH FILE [MOST]: until it is heard; between tries are pauses that double up to MOST seconds. 1: refused
    nap=1
    until talk "$1" "$2"; do
        case $said in *' 401 '* | *' 409 '* | *' 422 '*) return 1 ;; esac
        sleep $nap
        [ $nap -ge "${3:-30}" ] || nap=$((nap * 2))
    done
}

last_words() { # last_words [FILE...]: the last lines of the kernel's log and of these files, once, heard or not
    words=${own:-/run}/last-words
    {
        dmesg | tail -n 40
        for file in "$@"; do
            [ ! -s "$file" ] || { echo "$file:" && tail -n 15 "$file"; }
        done
    } 2>/dev/null | jq -R -s '{lines: (split("\n") | .[-100:] | map(.[0:500]))}' >"$words"
    limit=10 talk /v1/log "$words"
}
