# Runs on the machine, as root, for as long as one apply lasts. $1: id of the apply, $2: who applies.
# Holds the lock of this machine. Reads one word: "done" (the apply has ended), "stop" (end what it left running);
# end of file means that the other side is gone, and is read as "stop": nothing may go on unseen.
umask 077
id=$1 who=$2 lock=/run/holdfast-apply.lock

# The shell that exports the mark has it in its arguments only, what it starts has it in its environment only.
# The pattern goes by stdin: in grep's own arguments it would find itself.
marked() {
    printf 'HOLDFAST_APPLY=%s' "$id" | LC_ALL=C grep -lsF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr -dc '0-9\n' | sort -u
}
sweep() {
    n=0
    while pids=$(marked) && [ -n "$pids" ] && [ "$n" -lt 100 ]; do
        # Five seconds to end in order (dpkg, systemctl), then no choice.
        if [ "$n" -ge 50 ]; then kill -KILL $pids; elif [ $((n % 10)) -eq 0 ]; then kill -TERM $pids; fi 2>/dev/null
        n=$((n + 1))
        sleep 0.1
    done
}
finish() {
    [ "$1" = done ] || sweep
    : >"$lock"
    exec 9>&-
    echo freed
    exit 0
}

exec 9>>"$lock"
if ! flock -n 9; then
    printf 'held\t%s\n' "$(head -n 1 "$lock")"
    exit 0
fi
printf '%s\t%s\t%s\n' "$who" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" "$$" >"$lock"
trap 'finish stop' TERM INT HUP
echo mine
IFS= read -r word || word=lost
finish "$word"
