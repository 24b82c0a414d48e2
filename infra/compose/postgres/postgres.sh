#!/bin/sh
# A PostgreSQL server that makes its databases at the first start: all of them or none, wherever it is killed.
set -eu
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
data=/var/lib/lab/postgres/data

create() { # name, password
    # The password is a literal for psql to quote, and never an argument that others could read.
    NAME="$1" PASSWORD="$2" psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host /tmp postgres <<'SQL'
\getenv name NAME
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

if [ ! -e "$data" ]; then
    rm -rf "$data.new"
    initdb --pgdata "$data.new" --username postgres --encoding UTF8 --no-locale --data-checksums --auth-local trust --auth-host scram-sha-256 >/dev/null
    echo 'host all all samenet scram-sha-256' >>"$data.new/pg_hba.conf"
    pg_ctl --pgdata "$data.new" --silent --wait --options "-c listen_addresses= -k /tmp" start
    create lab "$LAB_PASSWORD"
    create prefect "$PREFECT_PASSWORD"
    create mlflow "$MLFLOW_PASSWORD"
    pg_ctl --pgdata "$data.new" --silent --wait --mode fast stop
    mv "$data.new" "$data"
fi
exec postgres -D "$data" -k /tmp -c 'listen_addresses=*' -c max_connections=200 -c shared_buffers=256MB -c idle_in_transaction_session_timeout=5min
