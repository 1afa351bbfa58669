#!/usr/bin/env bash
# Installs the package into a freshly booted Debian (systemd-nspawn) and checks what an operator relies on.
#
#   packaging/deb/test.sh [callgate_*.deb]      without an argument the package is built first
#
# Needs root, systemd-container, mmdebstrap, iproute2, coturn's clients, openssl, lintian. The machine's network is not
# touched: server and client are two namespaces of this test, joined by a cable. The Debian tree is made once and kept
# in CALLGATE_NSPAWN_CACHE (default: target/nspawn). SUITE=trixie tries another release.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
suite=${SUITE:-bookworm}
cache=${CALLGATE_NSPAWN_CACHE:-$top/target/nspawn}
server=203.0.113.5 client=203.0.113.10
config=/etc/callgate/callgate.toml

die() { echo "test.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root"
for tool in systemd-nspawn mmdebstrap ip nsenter curl openssl lintian dpkg-deb turnutils_uclient turnutils_peer turnutils_stunclient; do
    command -v "$tool" >/dev/null || die "$tool is missing"
done

if [ $# -gt 0 ]; then
    deb=$(realpath "$1")
else
    deb=$("$here/build.sh") || die "the package was not built"
fi
[ -f "$deb" ] || die "no package at $deb"

# --- one line a check -----------------------------------------------------------------------------------------------

passed=0 failed=0
ok() { passed=$((passed + 1)); echo "ok      $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok  $1"; [ -z "${2:-}" ] || head -n 12 <<<"$2" | sed 's/^/        # /'; }
# check NAME COMMAND...: passes when the command does; otherwise shows what it printed.
check() {
    local title=$1 out; shift
    if out=$("$@" 2>&1); then ok "$title"; else not_ok "$title" "\$ $* (status $?)"$'\n'"$out"; fi
}
# same NAME EXPECTED ACTUAL
same() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected: $2"$'\n'"found:    $3"; fi; }
# has NAME PATTERN TEXT: an extended regular expression in a text
has() { if grep -Eq -- "$2" <<<"$3"; then ok "$1"; else not_ok "$1" "no match for /$2/ in:"$'\n'"$3"; fi; }

# --- the machine ----------------------------------------------------------------------------------------------------

# On a host that systemd runs, a container wants a place of its own among the control groups.
if [ -d /run/systemd/system ] && [ -z "${CALLGATE_SCOPED:-}" ]; then
    CALLGATE_SCOPED=1 exec systemd-run --quiet --scope --property=Delegate=yes "$here/test.sh" "$deb"
fi

name=callgate-deb-$$
work=$(mktemp -d)
nspawn='' init=''
cleanup() {
    local i group
    [ -z "${peer:-}" ] || kill "$peer" 2>/dev/null
    if [ -n "$nspawn" ]; then
        [ -z "$init" ] || kill -s RTMIN+4 "$init" 2>/dev/null
        for i in $(seq 60); do kill -0 "$nspawn" 2>/dev/null || break; sleep 0.25; done
        kill -9 "$nspawn" 2>/dev/null
        wait "$nspawn" 2>/dev/null
    fi
    ip netns del "$name" 2>/dev/null
    for group in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        [ -d "$group/$name" ] && find "$group/$name" -depth -type d -exec rmdir {} \; 2>/dev/null
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

root=$cache/$suite
if [ ! -d "$root" ]; then
    echo "# making a $suite tree in $root"
    mkdir -p "$cache" && rm -rf "$root.new"
    mmdebstrap --quiet --aptopt='Acquire::Retries "3"' --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2 "$suite" "$root.new" 2>"$work/mmdebstrap.log" \
        || { cat "$work/mmdebstrap.log" >&2; die "mmdebstrap failed"; }
    mv "$root.new" "$root"
fi

# The next version of the package, for the upgrade.
mkdir "$work/debs" && cp "$deb" "$work/debs/callgate.deb"
version=$(dpkg-deb -f "$deb" Version)
next=$version+next
dpkg-deb -R "$deb" "$work/next" && sed -i "s/^Version: .*/Version: $next/" "$work/next/DEBIAN/control" \
    && dpkg-deb --root-owner-group -b "$work/next" "$work/debs/callgate-next.deb" >/dev/null || die "could not make the next version"
chmod 755 "$work" "$work/debs"; chmod 644 "$work"/debs/*

(
    if [ -z "${CALLGATE_SCOPED:-}" ]; then
        for group in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
            if [ -d "$group" ]; then mkdir -p "$group/$name" && echo "$BASHPID" >"$group/$name/cgroup.procs"; fi
        done
    fi
    exec systemd-nspawn --quiet --boot -D "$root" --volatile=overlay -M "$name" --register=no --keep-unit --private-network \
        --console=pipe --bind-ro="$work/debs:/debs" </dev/null
) >"$work/console" 2>&1 &
nspawn=$!

in_() { timeout 400 nsenter -t "$init" -m -u -i -n -p -C -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
for _ in $(seq 600); do
    init=$(pgrep -P "$nspawn" | head -n 1)
    if [ -n "$init" ]; then
        state=$(in_ systemctl is-system-running 2>/dev/null)
        case $state in running | degraded) break ;; esac
    fi
    kill -0 "$nspawn" 2>/dev/null || { cat "$work/console" >&2; die "the container did not boot"; }
    sleep 0.2
done
case ${state:-} in running | degraded) ;; *) tail -n 30 "$work/console" >&2; die "the container did not finish booting (${state:-no systemd})" ;; esac
echo "# $(in_ sh -c '. /etc/os-release; echo "$PRETTY_NAME"'), $(in_ systemctl --version | head -n 1), $(basename "$deb")"

# The cable: the server's end is its default route, the client's end lives in a namespace of its own.
ip netns add "$name" || die "no network namespace"
ip -n "$name" link set lo up
ip -n "$name" link add wire0 type veth peer name wire1 || die "no veth"
ip -n "$name" link set wire1 netns "$init"
ip -n "$name" addr add "$client/24" dev wire0
ip -n "$name" link set wire0 up
net() { nsenter -t "$init" -n "$@"; }
far() { ip netns exec "$name" "$@"; }
net ip addr add "$server/24" dev wire1 && net ip link set wire1 up && net ip route add default via "$client" || die "no address for the server"

property() { in_ systemctl show callgate -p "$1" --value; }
http() { far curl -sS --max-time 20 --noproxy '*' "$@"; }
# wait_for SECONDS COMMAND...
wait_for() {
    local until=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $until ] || return 1; sleep 0.1; done
}
# waited NAME SECONDS COMMAND...: passes as soon as the command does; otherwise shows what it printed last.
waited() { local title=$1 limit=$2; shift 2; wait_for "$limit" "$@"; check "$title" "$@"; }
# told PATTERN ...: the journal has a line of that kind
told() { grep -Eq -- "$1" <<<"$(journal "${@:2}")"; }
# status_of CODE CURL-ARGUMENTS...
status_of() { [ "$(http -o /dev/null -w '%{http_code}' "${@:2}")" = "$1" ]; }
journal() { in_ journalctl -u callgate -o cat --no-pager "$@"; }

# --- the package by itself ------------------------------------------------------------------------------------------

check "lintian finds nothing" lintian --allow-root --suppress-tags-from-file /dev/null --fail-on error,warning "$deb"
check "the unit is closed (systemd-analyze security: at most 1.5)" \
    systemd-analyze security --offline=true --threshold=15 --no-pager "$top/systemd/callgate.service"

# kept NAME: what has to outlive the daemon is there, and the daemon's alone.
kept() {
    same "the store is there $1" "600 callgate:callgate" "$(in_ stat -c '%a %U:%G' /var/lib/callgate/callgate.db 2>&1)"
    same "the secret of seats is there $1" "600 callgate:callgate" "$(in_ stat -c '%a %U:%G' /var/lib/callgate/resume-secret 2>&1)"
    same "and is the same $1" "$seats" "$(in_ sha256sum /var/lib/callgate/resume-secret 2>&1)"
}

# --- installing -----------------------------------------------------------------------------------------------------

check "apt installs it" in_ apt-get install -y -q /debs/callgate.deb
[ $failed = 0 ] && [ "$(property ActiveState)" = active ] || { journal -n 30; echo "$passed passed, $failed failed"; exit 1; } # the rest could mean nothing
same "the service is running" active "$(property ActiveState)"
same "it said that it is ready" "notify success" "$(property Type) $(property Result)"
same "it starts at boot" enabled "$(in_ systemctl is-enabled callgate)"
same "it runs as its own user" callgate "$(in_ stat -c %U "/proc/$(property MainPID)")"
check "systemd finds no fault with the unit" in_ systemd-analyze verify --man=no callgate.service
same "the configuration is for root and the daemon alone" "640 root:callgate" "$(in_ stat -c '%a %U:%G' $config)"
secret=$(in_ sed -n 's/^secrets = \["\([0-9a-f]*\)"\]$/\1/p' $config)
same "a secret of 32 bytes was made" 64 ${#secret}
same "the rest of the configuration is the shipped one" "" \
    "$(diff <(in_ sed 's/^secrets = .*/secrets = []/' $config) <(in_ cat /usr/share/callgate/callgate.toml))"
same "the state folder is the daemon's" "750 callgate:callgate" "$(in_ stat -c '%a %U:%G' /var/lib/callgate)"
status=$(http -o "$work/health" -w '%{http_code}' "http://$server:3000/health")
same "/health answers 200" 200 "$status"
check "the man page is there" in_ test -f /usr/share/man/man1/callgate.1.gz
same "the journal does not hold the secret" "" "$(journal | grep -F "$secret")"

# --- the relay ------------------------------------------------------------------------------------------------------

has "STUN tells the client its address" "$client" "$(far timeout 60 turnutils_stunclient -p 3478 $server 2>&1)"

# The lab's addresses are documentation addresses, which no relay should talk to: allow them, by environment.
in_ mkdir -p /etc/systemd/system/callgate.service.d
in_ sh -c "printf '[Service]\nEnvironment=CALLGATE_TURN__PEERS__ALLOW=203.0.113.0/24\n' >/etc/systemd/system/callgate.service.d/lab.conf; systemctl daemon-reload"
check "it restarts" in_ systemctl restart callgate
credentials=$(in_ callgate credentials --user lab --ttl 10m 2>&1)
user=$(sed -n 's/.*"username": "\([^"]*\)".*/\1/p' <<<"$credentials")
password=$(sed -n 's/.*"password": "\([^"]*\)".*/\1/p' <<<"$credentials")
has "callgate credentials signs a user name" '^[0-9]{10}:lab$' "$user"
ip netns exec "$name" turnutils_peer -L $client -p 3480 >/dev/null 2>&1 &
peer=$!
wait_for 30 eval "far ss -Hlun 'sport = :3480' | grep -q ." || die "turnutils_peer does not listen"
uclient() { far timeout 90 turnutils_uclient -u "$1" -w "$2" -e $client -r 3480 -n 20 -m 1 -l 200 "${@:3}" $server 2>&1; }
# By indications (-s): for ChannelBind this client draws numbers that RFC 8656 no longer has.
has "an authenticated client relays to a peer and back" 'Total lost packets 0 ' "$(uclient "$user" "$password" -s)"
has "and from relay to relay" 'Total lost packets 0 ' "$(uclient "$user" "$password" -s -y)"
# What a browser does, by hand: Engine.IO over polling, join, and use the credentials that come back.
io="http://$server:3000/socket.io/?EIO=4&transport=polling"
sid=$(http "$io" | sed -n 's/.*"sid":"\([^"]*\)".*/\1/p')
http "$io&sid=$sid" -H 'content-type: text/plain' -d '40' >/dev/null
# polled: the packets that came, one a line; a ping, which may come at any time, is answered.
polled() {
    local got
    got=$(http "$io&sid=$sid" | tr '\036' '\n')
    if grep -qx 2 <<<"$got"; then http "$io&sid=$sid" -H 'content-type: text/plain' -d '3' >/dev/null; fi
    echo "$got"
}
welcome() { grep -q '^40' <<<"$(polled)"; }
wait_for 60 welcome
http "$io&sid=$sid" -H 'content-type: text/plain' -d '42["join",{"roomId":"tea"}]' >/dev/null
joined=''
for _ in 1 2 3 4 5 6; do joined=$joined$(polled); grep -q '"joined"' <<<"$joined" && break; done
has "who joins a room is told where the relay is" "turn:$server:3478\?transport=udp" "$joined"
member=$(sed -n 's/.*"username":"\([^"]*\)".*/\1/p' <<<"$joined")
credential=$(sed -n 's/.*"credential":"\([^"]*\)".*/\1/p' <<<"$joined")
outside=$(uclient "$member" "$credential" -s)
has "with the credentials that came along it gets a relay, and no way out of its room" 'permission error 403' "$outside"
same "where nothing was relayed to" "" "$(grep -E 'Total lost packets 0 ' <<<"$outside")"
# This client tries again and again; the relay soon stops listening to it.
wrong=$(far timeout 5 turnutils_uclient -u "$user" -w "wrong$password" -e $client -r 3480 -n 20 -m 1 -l 200 -s $server 2>&1)
same "with a wrong password nothing was relayed" "" "$(grep -E 'Total lost packets 0 ' <<<"$wrong")"
has "and it was refused" '^callgate_auth_failures_total\{code="401"\} [1-9]' "$(net curl -sS --noproxy '*' http://127.0.0.1:3000/metrics)"
kill "$peer" 2>/dev/null; peer=''
in_ rm -r /etc/systemd/system/callgate.service.d
in_ systemctl daemon-reload

# --- the ports that only root may open ------------------------------------------------------------------------------

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$server" -addext "subjectAltName=IP:$server" \
    -keyout "$work/debs/key.pem" -out "$work/debs/certificate.pem" 2>/dev/null
chmod 644 "$work"/debs/*.pem
in_ sh -c 'install -d -m 0750 -g callgate /etc/callgate/tls && install -m 0640 -g callgate /debs/*.pem /etc/callgate/tls/'
in_ tee $config >/dev/null <<TOML
# the operator's own
[http]
listen = ["[::]:80"]

[tls]
listen = ["[::]:443"]
certificate = "/etc/callgate/tls/certificate.pem"
key = "/etc/callgate/tls/key.pem"

[turn]
listen = ["[::]:3478", "[::]:500"]
secrets = ["$secret"]
TOML
check "callgate check accepts ports 80 and 443" in_ callgate check
has "callgate check hides the secret" '^masked$' "$(in_ callgate check 2>&1 | grep -qF "$secret" || echo masked)"
check "it restarts on ports 80, 443 and 3478" in_ systemctl restart callgate
same "port 80 answers" 200 "$(http -o /dev/null -w '%{http_code}' "http://$server/health")"
same "port 443 answers with the operator's certificate" 200 \
    "$(http --cacert "$work/debs/certificate.pem" -o /dev/null -w '%{http_code}' "https://$server/health")"
has "UDP 3478 answers" "$client" "$(far timeout 60 turnutils_stunclient -p 3478 $server 2>&1)"
has "a UDP port below 1024 answers" "$client" "$(far timeout 60 turnutils_stunclient -p 500 $server 2>&1)"
same "editing kept the file's owner and mode" "640 root:callgate" "$(in_ stat -c '%a %U:%G' $config)"

# --- reloading ------------------------------------------------------------------------------------------------------

before=$(property MainPID)
# settled: the reload has been and gone, as far as systemd is concerned.
settled() { [ "$(property ActiveState) $(property SubState)" = "active running" ]; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$server" -addext "subjectAltName=IP:$server" \
    -keyout "$work/debs/key.pem" -out "$work/debs/renewed.pem" 2>/dev/null
chmod 644 "$work"/debs/*.pem
in_ sh -c 'install -m 0640 -g callgate /debs/renewed.pem /etc/callgate/tls/certificate.pem; install -m 0640 -g callgate /debs/key.pem /etc/callgate/tls/key.pem'
check "systemctl reload takes a good configuration" in_ systemctl reload callgate
check "and the service is running after it" wait_for 60 settled
same "as the same process" "$before" "$(property MainPID)"
# The daemon is told, and reads it then.
waited "port 443 answers with the renewed certificate" 60 status_of 200 --cacert "$work/debs/renewed.pem" "https://$server/health"
waited "the journal tells of it" 60 told 'configuration reloaded' -n 20
has "callgate reload finds the service by itself" "process $before " "$(in_ callgate reload 2>&1)"
in_ cp -p $config /root/good.toml
in_ sh -c "printf 'bogus = 1\n' >>$config"
if in_ systemctl reload callgate 2>/dev/null; then not_ok "systemctl reload fails on a wrong configuration"; else ok "systemctl reload fails on a wrong configuration"; fi
check "and the service runs on" wait_for 60 settled
same "as the same process again" "$before" "$(property MainPID)"
same "callgate reload says so by exit status 2" 2 "$(in_ callgate reload >/dev/null 2>&1; echo $?)"
same "it still answers" 200 "$(http -o /dev/null -w '%{http_code}' "http://$server/health")"
in_ cp -p /root/good.toml $config

# --- a mistake in the configuration ---------------------------------------------------------------------------------

in_ cp -p $config /root/good.toml
in_ sh -c "printf 'bogus = 1\n' >>$config"
line=$(in_ grep -n '^bogus' $config | cut -d: -f1)
stamp=$(in_ date +%s)
if in_ systemctl restart callgate 2>/dev/null; then not_ok "systemctl restart fails on a wrong configuration"; else ok "systemctl restart fails on a wrong configuration"; fi
has_failed() { [ "$(property ActiveState)" = failed ]; }
wait_for 60 has_failed
sleep 7 # longer than RestartSec
same "the service failed with exit status 2" "failed exit-code 2" "$(property ActiveState) $(property Result) $(property ExecMainStatus)"
same "and was not started again" 0 "$(property NRestarts)"
wait_for 30 told 'turn\.bogus' --since "@$stamp"
said=$(journal --since "@$stamp")
has "the journal names file and line" "$config:$line" "$said"
has "and the key" 'turn\.bogus' "$said"
same "the same mistake costs callgate check exit status 2" 2 "$(in_ callgate check >/dev/null 2>&1; echo $?)"
in_ cp -p /root/good.toml $config
in_ systemctl reset-failed callgate
check "with the mistake mended it runs again" in_ systemctl start callgate

# --- a crash, and a stop --------------------------------------------------------------------------------------------

before=$(property MainPID)
seats=$(in_ sha256sum /var/lib/callgate/resume-secret)
[ -n "$seats" ] || die "no secret of seats to compare with"
in_ sh -c "kill -KILL $before"
again() { [ "$(property ActiveState)" = active ] && [ "$(property MainPID)" != "$before" ]; }
check "a killed daemon is started again" wait_for 90 again
kept "after a crash"
# A connection that stays open and silent must not hold the stop up: systemd would put an end to it after 15 s, which is no success.
ip netns exec "$name" timeout 60 bash -c "exec 3<>/dev/tcp/$server/80; sleep 60" &
holder=$!
wait_for 30 eval "net ss -Htn state established 'sport = :80' | grep -q ."
start=$(date +%s%N)
in_ systemctl stop callgate
took=$((($(date +%s%N) - start) / 1000000))
kill "$holder" 2>/dev/null
if [ $took -lt 14500 ]; then ok "it stops within the drain time ($took ms)"; else not_ok "it stops within the drain time" "$took ms"; fi
same "the stop was an orderly end" "inactive success 0" "$(property ActiveState) $(property Result) $(property ExecMainStatus)"
in_ systemctl start callgate

# --- upgrade, remove, purge -----------------------------------------------------------------------------------------

sum=$(in_ sha256sum $config)
[ -n "$sum" ] || die "no configuration to compare with"
before=$(property MainPID)
check "apt upgrades it" in_ apt-get install -y -q /debs/callgate-next.deb
same "the new version is installed" "$next" "$(in_ dpkg-query -W -f '${Version}' callgate)"
same "the configuration is untouched" "$sum" "$(in_ sha256sum $config)"
same "the service runs" active "$(property ActiveState)"
if [ "$(property MainPID)" != "$before" ]; then ok "as a new process"; else not_ok "as a new process"; fi
kept "after the upgrade"
check "callgate backup copies the store, as root" in_ callgate backup /root/copy.db
check "and the copy is there" in_ test -s /root/copy.db
kept "after the backup"

in_ systemctl disable --now --quiet callgate
check "apt installs it again over a disabled service" in_ apt-get install -y -q --reinstall /debs/callgate-next.deb
same "which stays disabled and stopped" "disabled inactive" "$(in_ systemctl is-enabled callgate) $(property ActiveState)"
in_ systemctl enable --now --quiet callgate

in_ sh -c 'echo kept >/var/lib/callgate/note'
check "apt removes it" in_ apt-get remove -y -q callgate
same "nothing runs any more" "" "$(in_ sh -c 'grep -lx callgate /proc/[0-9]*/comm 2>/dev/null')"
same "the configuration stays" "$sum" "$(in_ sha256sum $config)"
same "the state stays" kept "$(in_ cat /var/lib/callgate/note)"
check "apt installs it again" in_ apt-get install -y -q /debs/callgate.deb
same "with the old configuration" "$sum" "$(in_ sha256sum $config)"
same "and it runs" active "$(property ActiveState)"
check "apt purges it" in_ apt-get purge -y -q callgate
same "configuration, state and unit are gone" "" \
    "$(in_ sh -c 'ls -d /etc/callgate /var/lib/callgate /usr/lib/systemd/system/callgate* /etc/systemd/system/callgate* /etc/systemd/system/*/callgate* 2>/dev/null')"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
