# By what a disk is known, and known again: the discovery image tells it, and the hooks of installers look for it, so both
# run what is here. For the shells of all of them; none begins a process for it, which is dear where instructions are
# emulated.

value() { # value FILE: V is its first line, without blanks around it
    V=
    [ ! -r "$1" ] || read -r V 2>/dev/null <"$1"
}

real() { # real PATH: R is the directory that it leads to; ''
    R=
    cd -P "$1" 2>/dev/null && R=$PWD
    cd /
}

pci_of() { # pci_of PATH: P is the innermost PCI address in a real path of /sys
    P=
    IFS=/
    for part in $1; do
        case $part in [0-9a-f][0-9a-f][0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f].[0-9a-f]) P=$part ;; esac
    done
    unset IFS
}

know() { # know DISK, a directory of /sys/block: its serial, wwn, path (as by-path) and transport; fails where none is
    real "$1/device"
    [ -n "$R" ] || return 1
    pci_of "$R"
    path=${P:+pci-$P}
    case ${1##*/} in
        vd*) transport=virtio ;;
        nvme*)
            transport=nvme
            value "$1/nsid"
            path=$path-nvme-$V
            ;;
        *)
            case $R in
                */usb*) transport=usb ;;
                */ata*) transport=sata ;;
                */virtio*) transport=virtio ;;
                *) transport=scsi ;;
            esac
            path=$path-scsi-${R##*/}
            ;;
    esac
    value "$1/serial"
    [ -n "$V" ] || value "$1/device/serial"
    [ -n "$V" ] || [ ! -r "$1/device/vpd_pg80" ] || V=$(tr -cd 'A-Za-z0-9_-' <"$1/device/vpd_pg80")
    serial=$V
    value "$1/wwid"
    [ -n "$V" ] || value "$1/device/wwid"
    wwn=$V
}
