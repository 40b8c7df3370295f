# The password of the gateways' Redis user, and the key of the first caller: made once, at random.
# Run by the service `keys` of docker-compose.yml. To replace them, remove the two volumes.
#
#   sh keys.sh [GATEWAYS [REDIS]]      directories: /gateways and /redis
set -eu

gateways=${1:-/gateways}
redis=${2:-/redis}

[ -e "$redis/users.acl" ] && exit 0

umask 077
# Of a run that did not come to its end; root may not write what was given away.
rm -f "$gateways/caller-key" "$gateways/redis-password" "$redis/users.acl.new"
random() { head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1; }
random >"$gateways/caller-key"
password=$(random)
printf '%s\n' "$password" >"$gateways/redis-password"
digest=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)

# Nobody else, nothing but the gateways' own keys and channels, nothing that an administrator would do.
cat >"$redis/users.acl.new" <<END
user default off
user genesys-proxy on #$digest ~gp1:* &gp1:* -@all +@read +@write +@connection +publish +subscribe +unsubscribe +eval +evalsha +time -@dangerous -scan -randomkey -dbsize
END

# Whom they are for: the users of the images. Without root there is nobody else to give them to.
if [ "$(id -u)" -eq 0 ]; then
    chown 65532:65532 "$gateways/caller-key" "$gateways/redis-password"
    chown 999:1000 "$redis/users.acl.new"
fi
# Last: with it, all is there.
mv "$redis/users.acl.new" "$redis/users.acl"
