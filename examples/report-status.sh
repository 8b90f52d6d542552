#!/bin/sh
# Posts a status to gitops-status-server. Needs a POSIX sh, od, awk, tr, wc and curl 7.76 or newer: an image with
# busybox and curl, such as curlimages/curl, has them all.
#
#   STATUS_URL=http://gitops-status-server.observability-stack.svc.cluster.local \
#       sh report-status.sh [-d LIST] [FIELD=VALUE]...
#
# -d LIST      a file with the names of what differs, one a line, or each ended by NUL (git diff -z). It gives
#              drift_count and files, and sync_status as well unless that is a FIELD: SYNCED if the list is empty, else
#              OUT_OF_SYNC. It is a file and no pipe, because a pipe hides that the command before it has failed, and
#              what is left of its list then looks like SYNCED.
# FIELD=VALUE  a field of the status, as a string: sync_status, repo, server and last_check (which is now if it is left
#              out) are known to the server; it keeps all others, such as commit.
#
# STATUS_PATIENCE   seconds to try again for while the server is not reached or is busy; 120
# STATUS_MAX_BYTES  what the server takes at most; 65536. A longer list is cut, while drift_count counts all of it.
#
# Names may have any bytes in them. What is no UTF-8 is replaced as Unicode says, by U+FFFD.
# Exit codes: 0 the server has the status; 2 bad usage; else that of curl, which has said why: 22 when it was refused.
set -eu

die() {
    printf 'report-status.sh: %s\n' "$1" >&2
    exit 2
}

# Standard input as JSON, in ASCII. Without a separator it is one string. With one, it is a list of strings, each ended
# by that byte, and becomes two fields: how many there are, and as many of them as fit into $2 bytes.
json() {
    od -An -v -tu1 | LC_ALL=C awk -v separator="${1:--1}" -v room="${2:-0}" '
        function character(code) {
            if (code == 34 || code == 92) string = string "\\" sprintf("%c", code)
            else if (code >= 32 && code < 127) string = string sprintf("%c", code)
            else if (code < 65536) string = string sprintf("\\u%04x", code)
            else string = string sprintf("\\u%04x\\u%04x", 55232 + int(code / 1024), 56320 + code % 1024)
        }
        # UTF-8 by table 3-7 of the Unicode standard: what may follow depends on the first byte alone, and only the
        # second byte has other limits than 128 to 191.
        function byte(b) {
            if (wanted && b >= low && b <= high) {
                code = code * 64 + b - 128
                low = 128
                high = 191
                if (!--wanted) character(code)
                return
            }
            cut()
            low = 128
            high = 191
            if (b == separator) item()
            else if (b < 128) character(b)
            else if (b >= 194 && b <= 223) { wanted = 1; code = b - 192 }
            else if (b >= 224 && b <= 239) { wanted = 2; code = b - 224 }
            else if (b >= 240 && b <= 244) { wanted = 3; code = b - 240 }
            else character(65533)
            if (b == 224) low = 160
            if (b == 237) high = 159
            if (b == 240) low = 144
            if (b == 244) high = 143
        }
        function cut() {
            if (wanted) character(65533)
            wanted = 0
        }
        function item() {
            if (string == "") return
            count++
            room -= length(string) + 3
            if (room >= 0) list = list (list == "" ? "" : ",") "\"" string "\""
            string = ""
        }
        { for (i = 1; i <= NF; i++) byte($i + 0) }
        END {
            cut()
            if (separator < 0) print "\"" string "\""
            else {
                item()
                printf "\"drift_count\":%d,\"files\":[%s]\n", count, list
            }
        }'
}

list=
while getopts d: option; do
    case $option in
    d) list=$OPTARG ;;
    *) die 'usage: report-status.sh [-d LIST] [FIELD=VALUE]...' ;;
    esac
done
shift $((OPTIND - 1))
[ -n "${STATUS_URL:-}" ] || die 'STATUS_URL is not set: the URL of the server, such as http://gitops-status-server'

fields=
drift=
sync_status=
last_check=$(date -u +%Y-%m-%dT%H:%M:%SZ)
for argument in "$@"; do
    name=${argument%%=*}
    value=${argument#*=}
    case $argument in
    sync_status=*) sync_status=$value ;;
    last_check=*) last_check=$value ;;
    [!=]*=*) fields=$fields$(printf %s "$name" | json):$(printf %s "$value" | json), ;;
    *) die "$argument is no FIELD=VALUE" ;;
    esac
done

if [ -n "$list" ]; then
    if [ ! -f "$list" ] || [ ! -r "$list" ]; then die "the list $list is no file that can be read"; fi
    separator=10
    [ "$(tr -dc '\000' <"$list" | wc -c)" -eq 0 ] || separator=0
    # 256 for what is put around these two fields.
    room=$((${STATUS_MAX_BYTES:-65536} - ${#fields} - ${#sync_status} - 256))
    drift=$(json $separator "$room" <"$list")
    if [ -z "$sync_status" ]; then
        case $drift in
        '"drift_count":0,'*) sync_status=SYNCED ;;
        *) sync_status=OUT_OF_SYNC ;;
        esac
    fi
fi
[ -n "$sync_status" ] || die 'neither -d LIST nor sync_status=VALUE: what is the status?'
fields=$fields'"sync_status":'$(printf %s "$sync_status" | json),${drift:+$drift,}
body="{$fields\"last_check\":$(printf %s "$last_check" | json)}"

# curl tries again by itself when it cannot connect and after a 408, 429, 500, 502, 503 or 504, and heeds Retry-After.
# It does not when the connection ends without an answer, for the request may have been carried out; here, to say the
# same twice does no harm.
tries=3
until printf %s "$body" | curl --no-progress-meter --fail-with-body --write-out '\n' \
    --retry 10 --retry-connrefused --retry-max-time "${STATUS_PATIENCE:-120}" --connect-timeout 5 --max-time 20 \
    --header 'Content-Type: application/json' --data-binary @- "${STATUS_URL%/}/api/status"; do
    code=$?
    case $code in
    52 | 55 | 56) ;;
    *) exit $code ;;
    esac
    [ $((tries = tries - 1)) -gt 0 ] || exit $code
    sleep 1
done
