#!/bin/sh
# Fetch the CA certificates and CRLs with which nginx verifies client certificates. Run it
# when nginx starts (as an entry point of its image, or with ExecStartPre). It waits for the
# first copy, then continues in the background and reloads nginx after a change. With ONCE=1
# it fetches once and exits.
#
#   TRUST_FROM  internal URLs of the application, separated by   http://127.0.0.1:8000
#               spaces; the first one that responds is used
#   TRUST       the folder that nginx reads                      /etc/nginx/trust
#   EVERY       interval in seconds                              60
#   RELOAD      command after a change                           nginx -t -q && nginx -s reload
set -u
folder=${TRUST:-/etc/nginx/trust}
every=${EVERY:-60}
reload=${RELOAD:-nginx -t -q && nginx -s reload}
mkdir -p "$folder"

download() { # both files from the same host, complete
    for name in trusted.pem trusted.crl.pem; do
        curl --silent --show-error --fail --max-time 20 --header "Host: localhost" \
            --output "$folder/.$name" "$1/certificates/$name" || return 1
        grep -q -- "-----END" "$folder/.$name" || return 1 # do not accept an empty file
    done
}

fetch() { # replace both files; `.unread` exists until nginx has loaded them
    for from in ${TRUST_FROM:-http://127.0.0.1:8000}; do
        download "$from" || continue
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
        [ -e "$folder/.unread" ] && sh -c "$reload" && rm "$folder/.unread"
    done
) &
