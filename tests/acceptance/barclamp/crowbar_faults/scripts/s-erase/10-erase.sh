# Destroys nothing but tells of it in the node's own ledger: which binding, which run. About every third run cuts its own
# connection, some time around its end.
token=${CROWBAR_MARK##*/}
ledger=/root/ledger
number() { od -An -N1 -tu1 /dev/urandom | tr -d ' '; }
if [ -e /root/at-work ] && other=$(cat /root/at-work) && [ -d "/proc/$other" ] && grep -q CROWBAR_RUN= "/proc/$other/environ"; then
    echo "two $token $CROWBAR_RUN_ID" >>$ledger
fi
echo $$ >/root/at-work
echo "begin $token $CROWBAR_RUN_ID" >>$ledger
if [ "$(number)" -lt 85 ]; then
    read -r _ _ _ sshd _ <"/proc/$PPID/stat"
    echo "cut $token $CROWBAR_RUN_ID" >>$ledger
    delay=$(printf '%d.%02d' $(($(number) / 255)) $(($(number) * 99 / 255)))
    setsid sh -c "sleep $delay; kill -9 $sshd" </dev/null >/dev/null 2>&1 &
fi
sleep "0.$(printf '%02d' $(($(number) * 99 / 255)))"
# What follows is the end: it has succeeded from here on.
trap '' TERM
rm -f /root/at-work
echo "end $token $CROWBAR_RUN_ID" >>$ledger
