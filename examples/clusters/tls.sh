#!/bin/bash
# Certificates for a cluster of your own, and the commands that use them: only who holds the key takes part.
#   bash tls.sh FOLDER          # then copy FOLDER to every machine; the key is yours alone (mode 600)
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
openssl req -x509 -newkey rsa:4096 -nodes -days 365 -subj "/CN=stemkin" -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
cp "$folder/cert.pem" "$folder/ca.pem"  # it signs itself: it is its own authority
chmod 600 "$folder/key.pem"
cat <<END
dask scheduler --protocol tls --tls-ca-file $folder/ca.pem --tls-cert $folder/cert.pem --tls-key $folder/key.pem
dask worker tls://HOST:8786 --tls-ca-file $folder/ca.pem --tls-cert $folder/cert.pem --tls-key $folder/key.pem

# the client, in the shell (the folder alone also encrypts what stemkin starts itself: leave --cluster out):
stemkin run movies/ -o results/ --cluster tls://HOST:8786 --tls $folder

# or in a script:
#   with stemkin.connect("tls://HOST:8786", security="$folder"): ...
END
