#!/bin/bash
# Certificates for a cluster of your own, and the commands that use them: only who holds the key takes part.
#   bash tls.sh FOLDER          # then copy FOLDER to every machine; the key is yours alone (mode 600)
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
openssl req -x509 -newkey rsa:4096 -nodes -days 365 -subj "/CN=stemkin" -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
chmod 600 "$folder/key.pem"
cat <<END
dask scheduler --protocol tls --tls-ca-file $folder/cert.pem --tls-cert $folder/cert.pem --tls-key $folder/key.pem
dask worker tls://HOST:8786 --tls-ca-file $folder/cert.pem --tls-cert $folder/cert.pem --tls-key $folder/key.pem

# the client, in the shell:
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true
export DASK_DISTRIBUTED__COMM__TLS__CA_FILE=$folder/cert.pem
export DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT=$folder/cert.pem DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY=$folder/key.pem
stemkin run movies/ -o results/ --cluster tls://HOST:8786

# or in a script:
#   security = distributed.Security(tls_ca_file="$folder/cert.pem", tls_client_cert="$folder/cert.pem",
#                                   tls_client_key="$folder/key.pem", require_encryption=True)
#   with stemkin.connect("tls://HOST:8786", security=security): ...
END
