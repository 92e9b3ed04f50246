# Runs on the machine as the login user while an apply lasts, where sudo asks for a password. $1: a private folder.
# The password comes by stdin and stays in this shell's memory: not in a file, an argument or an environment. A FIFO
# hands it to the askpass program that sudo starts. When the connection ends, so does this, and the FIFO goes with it.
umask 077
IFS= read -r secret || exit 1
dir=$(mktemp -d "$1/askpass.XXXXXXXX") && mkfifo "$dir/answer" || exit 1
cat >"$dir/askpass" <<'END'
#!/bin/sh
# Several may ask at once: one after the other, since the shell reads a line byte by byte. A reader may find the FIFO just
# closed by the writer, and asks again.
exec 9<"$0"
flock 9
while [ -p "${0%/*}/answer" ]; do
    if IFS= read -r answer <"${0%/*}/answer"; then printf '%s\n' "$answer"; exit 0; fi
done
exit 1
END
chmod 700 "$dir/askpass"
(
    trap '' PIPE
    while [ -p "$dir/answer" ]; do printf '%s\n' "$secret" >"$dir/answer"; done
) </dev/null >/dev/null 2>&1 &
feeder=$!
end() { kill "$feeder" 2>/dev/null; rm -rf "$dir"; exit 0; }
trap end TERM INT HUP
echo "$dir/askpass"
while IFS= read -r _; do :; done
end
