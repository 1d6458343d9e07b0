# Datagrams wait in their socket until the server takes them. How much room a socket has is said by the kernel when it is
# opened: for all of the machine, so it is never made less than what it is by itself, which the file's first line keeps.
file=/etc/sysctl.d/10-crowbar-dhcp.conf # others that say it come later, and win
has=$(cat /proc/sys/net/core/rmem_default 2>/dev/null || echo 0)
ours=$(sed -n 's/^net.core.rmem_default = //p' $file 2>/dev/null || true)
before=$has reopened=no
[ "$ours" != "$has" ] || before=$(sed -n '1s/.*; it was //p' $file)
if [ "$room" -gt "$before" ]; then roomy=$room; else roomy=$before; fi
if [ "$has" != "$roomy" ] && ! { echo "$roomy" >/proc/sys/net/core/rmem_default; } 2>/dev/null; then
    echo "net.core.rmem_default cannot be changed from here: let it be $roomy at least in the first network namespace of the kernel, or what many machines ask at once may be lost" >&2
    roomy=$has
fi
if [ "$roomy" != "$before" ]; then
    mkdir -p /etc/sysctl.d
    printf '%s\n' "# Written by Crowbar (dhcp-server); it was $before" "net.core.rmem_default = $roomy" >$file
else
    rm -f $file
fi
[ "$roomy" = "$has" ] || reopened=yes
