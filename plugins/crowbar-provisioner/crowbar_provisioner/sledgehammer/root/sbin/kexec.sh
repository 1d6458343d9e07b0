# Loads the system that stands on the disk, to go on in it without the firmware. To be read by a script that has $notes.
lockdown=${lockdown:-/sys/kernel/security/lockdown}

load_system() { # load_system ROOT: what its boot loader would start first. Where that cannot be, 1, and $why says why
    menu= kernel= words= initrds= why=
    for file in "$1/boot/grub/grub.cfg" "$1/boot/grub2/grub.cfg"; do
        [ -n "$menu" ] || [ ! -r "$file" ] || menu=$file
    done
    [ -n "$menu" ] || { why='it has no /boot/grub/grub.cfg'; return 1; }
    while read -r word file more; do
        case $word in
            linux)
                [ -z "$kernel" ] || break # the next entry begins
                kernel=$file words=$more
                ;;
            initrd) [ -z "$kernel" ] || { initrds="$file $more" && break; } ;;
        esac
    done <"$menu"
    case $kernel$words$initrds in *["\$'\"\\"]*) why='its grub.cfg says what only GRUB understands'; return 1 ;; esac
    case " $words" in *' root='*) ;; *) why='its grub.cfg names no kernel with a root='; return 1 ;; esac
    : >"$notes/initrd"
    for file in $kernel $initrds; do
        found=
        for place in "$1$file" "$1/boot$file"; do
            [ -n "$found" ] || [ ! -f "$place" ] || found=$place
        done
        [ -n "$found" ] || { why="its $file, which its grub.cfg names, is not there"; return 1; }
        if [ "$file" = "$kernel" ]; then system=$found; else cat "$found" >>"$notes/initrd"; fi
    done
    set -- -l -a "$system" --command-line="$words crowbar.kexec"
    [ -z "$initrds" ] || set -- "$@" --initrd="$notes/initrd"
    kexec "$@" 2>"$notes/kexec.log"
    code=$?
    rm -f "$notes/initrd"
    [ $code = 0 ] && return 0
    why="its kernel was refused: $(tail -n 1 "$notes/kexec.log" | tr -cd ' -~')"
    ! is_locked_down || why="$why (under Secure Boot, and lockdown, a kernel goes on in none but one whose signature it trusts)"
    return $code
}

is_locked_down() {
    [ -e "$lockdown" ] || mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
    [ -r "$lockdown" ] && read -r mode <"$lockdown" || return 1
    case $mode in *'[none]'*) return 1 ;; esac
}
