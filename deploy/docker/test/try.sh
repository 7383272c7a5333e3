#!/bin/sh
# Tests docker-compose.yml and both images without pulling anything. It starts
# its own Docker daemon in its own network namespace, builds stand-ins for the base
# images from local files, and runs docker compose up. Two agents pair and share a
# device. Then it kills one instance, restarts the other one and Postgres, restarts
# everything, and restores a backup. The agents must stay connected.
#
#   try.sh [DIRECTORY]     as root; DIRECTORY caches the images
#
# Needs docker.io, docker-compose, debootstrap, iproute2 and Go.
set -eu
keep=${1:-/var/tmp/easyfind-docker}
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
run=$(mktemp -d /tmp/easyfind-docker.XXXXXX)
net=eftry$$
host=10.77.0.1
export DOCKER_HOST="unix://$run/docker.sock" DOCKER_BUILDKIT=1 COMPOSE_PROJECT_NAME=easyfind-try
export POSTGRES_IMAGE=easyfind-test/postgres HAPROXY_IMAGE=easyfind-test/haproxy EASYFIND_PUBLIC_URL=https://$host:8443
EASYFIND_MAX_FILES=$(ulimit -H -n)
export EASYFIND_MAX_FILES
mkdir -p "$keep" "$run/bin"
# Prefer the distribution's client: it has BuildKit built in. Other clients need a
# plug-in for it.
[ ! -x /usr/bin/docker ] || ln -s /usr/bin/docker "$run/bin/docker"
export PATH="$run/bin:$PATH"
cd "$top"

compose() { docker-compose -f "$top/docker-compose.yml" "$@"; }
step() { echo "== $*"; }
fail() {
  echo "FAIL: $*" >&2
  tail -n 5 "$run/dockerd.log" >&2
  for agent in host client; do
    docker logs --tail 30 try-$agent >&2 || true
  done
  compose logs --tail 30 >&2 || true
  exit 1
}
# within SECONDS COMMAND... repeats the command until it succeeds.
within() {
  end=$(($(date +%s) + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt $end ] || fail "timed out: $*"
    sleep 0.5
  done
}
remove() {
  docker rm -f try-host try-client >/dev/null 2>&1 || true
  compose down -v >/dev/null 2>&1 || true
}
clean() {
  remove
  if [ -s "$run/pid" ]; then
    daemon=$(cat "$run/pid")
    kill "$daemon" 2>/dev/null || true
    while kill -0 "$daemon" 2>/dev/null; do sleep 0.2; done
  fi
  umount "$run"/exec/netns/* 2>/dev/null || true
  ip netns del "$net" 2>/dev/null || true
  rm -rf "$run"
}
trap clean EXIT
trap 'exit 1' INT TERM

step "daemon"
ip netns add "$net"
ip -n "$net" link set lo up
ip -n "$net" link add ef0 type veth peer name ef1
ip -n "$net" addr add $host/24 dev ef0
ip -n "$net" link set ef0 up
ip -n "$net" link set ef1 up
nsenter --net="/run/netns/$net" dockerd --data-root "$keep/docker" --exec-root "$run/exec" --pidfile "$run/pid" \
  -H "$DOCKER_HOST" --bridge none --iptables=false --ip-forward=false >"$run/dockerd.log" 2>&1 &
within 30 docker info
remove # containers that a killed run left behind

step "images"
go_image=easyfind-test/golang:$(sha256sum go.sum | cut -c 1-12) # the image contains the modules
docker image inspect "$go_image" >/dev/null 2>&1 || "$here/images.sh" "$keep" "$go_image" >/dev/null
for target in rendezvous agent; do
  name=easyfind
  [ $target = agent ] || name=easyfind-rendezvous
  docker build -q --network none --build-arg GO_IMAGE="$go_image" -f deploy/docker/Dockerfile \
    --target $target -t $name:local . >/dev/null
done

step "up"
up() { compose up -d --no-build >"$run/up.log" 2>&1 || fail "compose up: $(tail -n 5 "$run/up.log")"; }
up
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(compose ps -q "$1")")" = healthy ]; }
within 60 healthy balancer
link=$(compose exec -T rendezvous-1 easyfind-rendezvous join-link)
[ "$link" = "$(compose exec -T rendezvous-2 easyfind-rendezvous join-link)" ] ||
  fail "the instances have different join links"

step "two agents pair"
for agent in host client; do
  docker run -d --name try-$agent --network host --read-only --tmpfs /run/easyfind --cap-drop ALL \
    --security-opt no-new-privileges -e EASYFIND_RENDEZVOUS="$link" easyfind:local up --name $agent \
    --backend none --tls-listen "" --usbip-listen 127.0.0.1:0 \
    --virtual "$([ $agent = client ] || echo disk,keyboard)" >/dev/null
done
agent() {
  which=$1
  shift
  docker exec "try-$which" easyfind "$@"
}
# returned AGENT waits for an agent after an outage. An agent waits up to a minute
# between two attempts, and an attempt takes up to 25 s.
returned() { within 90 connected "$1"; }
using() { agent client status | grep -q 'device .*used here'; }
connected() { agent "$1" status | grep -q 'rendezvous .*connected to'; }
within 20 connected host
within 20 connected client
agent host pair --json >"$run/offer" &
offer_pid=$!
within 10 grep -q '"pin"' "$run/offer"
# shellcheck disable=SC2046 # two words
agent client pair $(sed -n 's/.*"address":"\([^"]*\)".*"pin":"\([^"]*\)".*/\1 \2/p' "$run/offer")
wait $offer_pid
device=$(agent host devices --json | grep -o '"id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
agent host share "$device"
within 20 agent client use host "$device" --endpoint
agent client status

step "kill one instance"
docker kill "$(compose ps -q rendezvous-1)" >/dev/null
sleep 1
returned host
returned client
within 10 agent client ls host
using || fail "the device is no longer attached"

step "start it again, then restart the other instance"
docker start "$(compose ps -q rendezvous-1)" >/dev/null
within 60 healthy rendezvous-1
compose restart -t 20 rendezvous-2 >/dev/null 2>&1
returned host
returned client

step "restart Postgres"
compose restart -t 30 postgres >/dev/null 2>&1
within 60 healthy balancer
returned host
using || fail "the device is no longer attached"

step "stop and start everything"
compose down >/dev/null 2>&1
up
within 60 healthy balancer
[ "$link" = "$(compose exec -T rendezvous-1 easyfind-rendezvous join-link)" ] || fail "the join link has changed"
returned host
returned client

step "back up, delete everything, restore"
compose exec -T rendezvous-1 easyfind-rendezvous backup - >"$run/rendezvous.bak"
compose down -v >/dev/null 2>&1
compose run --rm -T rendezvous-1 restore - <"$run/rendezvous.bak" >"$run/restore.log" 2>&1 ||
  fail "restore: $(tail -n 5 "$run/restore.log")"
up
within 60 healthy balancer
[ "$link" = "$(compose exec -T rendezvous-1 easyfind-rendezvous join-link)" ] || fail "the join link has changed"
returned host
returned client
within 20 agent client ls host
compose ps
echo ok
