#!/bin/busybox sh
# The oracle's guest: gives every function a driver, makes the virtual functions, and prints what the kernel knows as a
# report of lines between `ioward-report begins` and `ioward-report ends LINES CRC32`. `report.rs` reads it.
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox dmesg -n 1
/bin/busybox --install -s /bin
export PATH=/bin
pci=/sys/bus/pci/devices

# Where a function's IOMMU is asked for by its driver's probe only (Arm, before Linux 6.15), it has no group until then.
bind() {
    for device in $pci/*; do
        [ -L $device/driver ] && continue
        echo pci-pf-stub > $device/driver_override
        echo ${device##*/} > /sys/bus/pci/drivers/pci-pf-stub/bind
    done
}

# An emulated processor is slow to start programs, so none is started for each function.
report() {
    echo "kernel $(uname -r)"
    # `word FUNCTION NAME VALUE`
    for one in vendor device class subsystem_vendor subsystem_device revision removable numa_node; do
        grep -H . $pci/*/$one
    done 2> /dev/null | sed 's|^.*/\(.*\)/\([a-z_]*\):|word \1 \2 |'
    for one in iommu_group driver physfn; do
        ls -ld $pci/*/$one
    done 2> /dev/null | sed 's|^.*/devices/\(.*\)/\(.*\) -> .*/|word \1 \2 |'
    # `part LENGTH FILE` for each file, and the bytes of all: `bytes LENGTH CRC32`, then `OFFSET BYTES` for each 16 bytes
    # that are not all zero.
    files=$pci/*/config
    for one in DMAR IVRS IORT VIOT MCFG; do files="$files /sys/firmware/acpi/tables/$one*"; done
    [ -d /sys/firmware/acpi/tables ] || files="$files /sys/firmware/fdt"
    stat -c 'part %s %n' $files 2> /dev/null
    for one in $files; do [ -r $one ] && cat $one; done > /bytes
    echo "bytes $(stat -c %s /bytes) $(crc32 < /bytes)"
    hexdump -ve '"%_ax " 16/1 "%02x" "\n"' /bytes | grep -vE '^[0-9a-f]+ 0* *$'
    for group in /sys/kernel/iommu_groups/*; do
        [ -d $group ] || continue
        read -r type < $group/type
        members=
        for member in $group/devices/*; do members="$members ${member##*/}"; done
        echo "group ${group##*/} $type$members"
        while read -r reserved; do echo "reserved ${group##*/} $reserved"; done < $group/reserved_regions
    done
    dmesg | grep -E 'IOMMU|iommu|ACS|DMAR|AMD-Vi|smmu|SR-IOV|sriov|pci-pf-stub|VF ' | sed 's/^/log /'
}

xzcat < /stub.ko.xz > /stub.ko && insmod /stub.ko
bind
for numvfs in $pci/*/sriov_numvfs; do
    [ -e $numvfs ] || continue
    read -r most < ${numvfs%/*}/sriov_totalvfs
    [ $most -gt 4 ] && most=4
    echo $most > $numvfs
done
bind
report > /report
echo "ioward-report begins"
cat /report
echo "ioward-report ends $(grep -c '' /report) $(crc32 < /report)"
poweroff -f
