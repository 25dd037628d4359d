# shellcheck shell=sh
# Leads what the guest fetches through the host's keeper while a stage works, and takes every trace of that back. Runs as
# root, from standard input, behind a line that sets its arguments:
#
#   begin --gateway ADDRESS --port PORT [--lead PORT]... [--names PORT] [--probe ADDRESS] [--clock TIME] [--mirror PORT --engine JSON]
#   end
#
#   --lead    another port than 80 whose connections are led, on the host too
#   --names   answers every name, and nothing else than the keeper is reached
#   --clock   the time meanwhile, in seconds since 1970: apt refuses lists of packages that are too old
#   --engine  what daemon.json says meanwhile
#   --mirror  the port of ADDRESS at which that names the keeper: it is led, too
set -eu

table=provision_keeper
engine=/etc/docker/daemon.json
# What it said before, where it is found after a restart, too.
before=$engine.provision
# By how many seconds the clock was set back; in memory, since the clock is right again after a restart.
late=/run/provision-late

die() {
    echo "lead: error: $1" >&2
    exit 1
}

reload_until() { # yes|no: until the engine does, or does not, name the keeper
    systemctl reload docker || die "the engine is not reloaded"
    tries=0
    while [ $tries -lt 60 ]; do
        # Each registry that needs no TLS has mirrors, too: an empty list.
        case $(curl -s --max-time 60 --unix-socket /run/docker.sock http://docker/info) in
            '') named=unknown ;;
            *"\"http://$gateway:$mirror/\""*) named=yes ;;
            *) named=no ;;
        esac
        [ $named != "$1" ] || return 0
        tries=$((tries + 1))
        sleep 0.5
    done
    die "the engine does not take up its configuration"
}

# Each step by itself: `set -e` does not count where the caller looks at the result.
end() {
    if ! nft delete table inet $table 2> /dev/null && nft list table inet $table > /dev/null 2>&1; then
        die "the firewall keeps the rules"
    fi
    if [ -e $late ]; then
        date -s "@$(($(date +%s) + $(cat $late)))" > /dev/null || die "the clock is not set"
        rm -f $late
    fi
    [ -e $before ] || return 0
    gateway='' mirror=''
    read -r gateway mirror < $before.port || die "$before.port cannot be read"
    # Another name of the same file: a full disk has room for it. The copy stays until the engine has taken it up.
    rm -f $engine.new
    if ! ln $before $engine.new || ! mv $engine.new $engine; then
        die "$engine cannot be put back"
    fi
    reload_until no
    rm -f $before $before.port
}

refuse_all() { # but the keeper, and that the guest keeps its addresses
    echo "        ip daddr $gateway tcp dport $port return"
    echo "        ip daddr $gateway udp dport { $names, 67 } return"
    echo "        ip daddr 255.255.255.255 udp dport 67 return"
    # What the host asks the guest for comes from there. The connection that this script came by is older than the
    # rules: what begins none is let through, whether or not the firewall has seen its beginning.
    echo "        ip daddr $gateway tcp flags & (syn | ack) != syn return"
    # Neighbours and routers speak ICMPv6; the ports are DHCPv6's.
    echo "        meta nfproto ipv6 meta l4proto != { tcp, udp } return"
    echo "        meta nfproto ipv6 udp dport { 546, 547 } return"
    echo "        meta l4proto tcp reject with tcp reset"
    echo "        reject"
}

rules() {
    wire=$(ip -4 route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    [ -n "$wire" ] || die "there is no default route"
    to="$gateway:$port"
    echo "table inet $table {"
    echo "    chain lead {"
    for other in $leads $mirror; do
        echo "        tcp dport $other dnat ip to $to"
    done
    # Even where the host is the name server.
    if [ -n "$names" ]; then
        echo "        udp dport 53 dnat ip to $gateway:$names"
    fi
    # The host's own port 80 is reached as ever.
    echo "        ip daddr $gateway return"
    echo "        tcp dport 80 dnat ip to $to"
    echo "    }"
    echo "    chain own { type nat hook output priority -110; oifname \"$wire\" meta nfproto ipv4 jump lead; }"
    # Containers: what leaves the guest, not what they say to each other.
    echo "    chain passing { type nat hook prerouting priority -110; iifname != \"$wire\" meta nfproto ipv4 fib daddr oifname \"$wire\" jump lead; }"
    echo "    chain refuse {"
    if [ -n "$names" ]; then
        refuse_all
    else
        # IPv4 is taken then.
        echo "        meta nfproto ipv6 tcp dport 80 reject with tcp reset"
    fi
    echo "    }"
    echo "    chain out { type filter hook output priority -10; oifname \"$wire\" jump refuse; }"
    echo "    chain through { type filter hook forward priority -10; oifname \"$wire\" jump refuse; }"
    echo "}"
}

# bash speaks TCP by itself; curl may not be there yet.
asked() {
    # shellcheck disable=SC2016 # bash expands it
    timeout 30 bash -c 'exec 3<> "/dev/tcp/$0/80" && printf "GET / HTTP/1.0\r\nHost: $0\r\n\r\n" >&3 && cat <&3' "$probe" 2> /dev/null
}

begin() {
    command -v nft > /dev/null || die "this guest has no nft"
    # What an earlier time left, which has another port.
    (end)
    rules > /run/provision-lead.nft
    nft -f /run/provision-lead.nft || die "the firewall does not take the rules"
    rm -f /run/provision-lead.nft
    case $(asked) in
        *led) ;;
        *) die "the host's keeper is not reached" ;;
    esac
    if [ -n "$clock" ]; then
        echo $(($(date +%s) - clock)) > $late
        date -s "@$clock" > /dev/null
    fi
    [ -n "$json" ] || return 0
    # Only what is written whole gets its name.
    rm -f $engine.new
    echo "$gateway $mirror" > $before.port
    cp -p $engine $before.new
    printf '%s\n' "$json" > $engine.new
    mv $before.new $before
    mv $engine.new $engine
    reload_until yes
}

undo() {
    status=$?
    rm -f $engine.new $before.new
    [ -e $before ] || rm -f $before.port
    (end) || true
    exit $status
}

action=$1
shift
gateway='' port='' leads='' names='' probe='' clock='' mirror='' json=''
while [ $# -gt 0 ]; do
    case $1 in
        --gateway) gateway=$2 ;;
        --port) port=$2 ;;
        --lead) leads="$leads $2" ;;
        --names) names=$2 ;;
        --probe) probe=$2 ;;
        --clock) clock=$2 ;;
        --mirror) mirror=$2 ;;
        --engine) json=$2 ;;
        *) die "$1: unknown option" ;;
    esac
    shift 2
done
case $action in
    begin)
        # Not `if ! (begin)`: `set -e` would not count in it.
        trap undo EXIT
        begin
        trap - EXIT
        ;;
    end) end ;;
    *) die "$action: begin or end" ;;
esac
