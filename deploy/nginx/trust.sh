#!/bin/sh
# Keep the CA certificates and revocation lists that nginx verifies devices with as the
# application serves them. Run at the start of nginx (as an entry point of its image, or
# by ExecStartPre): it waits for the first copy, then goes on in the background and has
# nginx read them again when they change. With ONCE=1 it fetches once and ends.
#
#   TRUST_FROM  where the application listens, within; one   http://127.0.0.1:8000
#               or several, of which the first that answers
#   TRUST       the folder that nginx reads                  /etc/nginx/trust
#   EVERY       seconds                                      60
set -u
folder=${TRUST:-/etc/nginx/trust}
every=${EVERY:-60}
mkdir -p "$folder"

take() { # both files from one host, whole
    for name in trusted.pem trusted.crl.pem; do
        curl --silent --show-error --fail --max-time 20 --header "Host: localhost" \
            --output "$folder/.$name" "$1/certificates/$name" || return 1
        grep -q -- "-----END" "$folder/.$name" || return 1 # never an empty file
    done
}

fetch() { # then both in their places, and a mark that nginx has not read them yet
    for from in ${TRUST_FROM:-http://127.0.0.1:8000}; do
        take "$from" || continue
        for name in trusted.pem trusted.crl.pem; do
            cmp -s "$folder/.$name" "$folder/$name" || : > "$folder/.unread"
        done
        for name in trusted.pem trusted.crl.pem; do
            mv "$folder/.$name" "$folder/$name"
        done
        return 0
    done
    return 1
}

until [ -s "$folder/trusted.crl.pem" ] && [ -s "$folder/trusted.pem" ]; do
    fetch || sleep 1
done
[ "${ONCE:-}" = 1 ] && { fetch; exit 0; }
(
    while sleep "$every"; do
        fetch
        [ -e "$folder/.unread" ] && nginx -t -q && nginx -s reload && rm "$folder/.unread"
    done
) &
