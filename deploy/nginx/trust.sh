#!/bin/sh
# Keep the CA certificates and revocation lists that nginx verifies devices with as the
# application serves them. Run at the start of nginx (as an entry point of its image, or
# by ExecStartPre): it waits for the first copy, then goes on in the background and has
# nginx read them again when they change. With ONCE=1 it fetches once and ends.
#
#   TRUST_FROM  where the application listens, within     http://127.0.0.1:8000
#   TRUST       the folder that nginx reads               /etc/nginx/trust
#   EVERY       seconds                                   60
set -u
from=${TRUST_FROM:-http://127.0.0.1:8000}
folder=${TRUST:-/etc/nginx/trust}
every=${EVERY:-60}
mkdir -p "$folder"

fetch() { # 0: both are here, and something changed
    changed=1
    for name in trusted.pem trusted.crl.pem; do
        curl --silent --show-error --fail --max-time 20 --header "Host: localhost" \
            --output "$folder/.$name" "$from/certificates/$name" || return 2
        grep -q -- "-----END" "$folder/.$name" || return 2 # never an empty file
        if ! cmp -s "$folder/.$name" "$folder/$name"; then
            mv "$folder/.$name" "$folder/$name"
            changed=0
        fi
    done
    return $changed
}

until [ -s "$folder/trusted.crl.pem" ] && [ -s "$folder/trusted.pem" ]; do
    fetch || sleep 1
done
[ "${ONCE:-}" = 1 ] && { fetch; exit 0; }
(
    while sleep "$every"; do
        fetch && nginx -t -q && nginx -s reload
    done
) &
