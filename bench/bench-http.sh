#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The gateway's proxy path against nginx's, in front of the same HTTP function process, in turns: requests/s and p99 of each, and the ratios.
# usage: bench-http.sh [BUILD_DIR] [SECONDS] [CONNECTIONS] [ROUNDS]; exit 77 without nginx or wrk.
set -eu
build=${1:-build} seconds=${2:-3} connections=${3:-64} rounds=${4:-3} bytes=${BYTES:-64}
if ! command -v nginx >/dev/null || ! command -v wrk >/dev/null; then echo "SKIP: nginx and wrk are needed"; exit 77; fi
dir=$(mktemp -d)
pids=
finish() {
	for pid in $pids; do kill "$pid" 2>/dev/null || :; done
	rm -rf "$dir"
}
trap finish EXIT INT TERM
base=$((20000 + $$ % 20000))
up=$base ours=$((base + 1)) n1=$((base + 2)) n2=$((base + 3))

nginx_conf() { # workers port
	cat >"$dir/nginx$1.conf" <<EOF
daemon off; worker_processes $1; pid $dir/nginx$1.pid; error_log $dir/nginx$1.err;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
  tcp_nodelay on;
  upstream f { server 127.0.0.1:$up; keepalive 64; keepalive_requests 100000000; }
  server { listen 127.0.0.1:$2;
    location / { proxy_pass http://f; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$host;
      proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto \$scheme;
      add_header X-Hearth-Start hot; add_header X-Hearth-Instance bench-1; } }
}
EOF
	nginx -p "$dir" -c "$dir/nginx$1.conf" & pids="$pids $!"
}

"$build/bench/bench_http_function" "$up" "$bytes" & pids="$pids $!"
"$build/bench/bench_http" "$ours" "$up" >/dev/null & pids="$pids $!"
nginx_conf 1 "$n1"
nginx_conf 2 "$n2"
for port in "$ours" "$n1" "$n2"; do
	i=0
	until curl -sf -o /dev/null "http://127.0.0.1:$port/"; do
		i=$((i + 1))
		[ $i -lt 50 ] || { echo "port $port does not answer"; exit 1; }
		sleep 0.1
	done
done

for _ in $(seq "$rounds"); do
	for who in "nginx-1 $n1" "nginx-2 $n2" "hearth $ours"; do
		wrk -t1 -c"$connections" -d"${seconds}s" --latency "http://127.0.0.1:${who#* }/x?y=1" >"$dir/out"
		echo "${who% *} $(awk '/Requests\/sec/ {r=$2} /99%/ {p=$2} /Non-2xx|Socket errors/ {e=1}
			END {u=p; sub(/[a-z]+$/, "", u); if (p ~ /us$/) u/=1000; else if (p !~ /ms$/) u*=1000; print r, u, e+0}' "$dir/out")" | tee -a "$dir/all"
	done
done
# the median round of each; nginx is whichever number of workers did better
awk '{n[$1]++; r[$1,n[$1]]=$2; p[$1,n[$1]]=$3; bad+=$4}
function med(a, w, k,   i, j, t, v) { for (i=1;i<=k;i++) v[i]=a[w,i]; for (i=1;i<=k;i++) for (j=i+1;j<=k;j++) if (v[j]<v[i]) {t=v[i];v[i]=v[j];v[j]=t} return v[int((k+1)/2)] }
END { for (w in n) { R[w]=med(r,w,n[w]); P[w]=med(p,w,n[w]); printf "%-8s %9.0f requests/s  p99 %7.2f ms\n", w, R[w], P[w] }
  b = R["nginx-2"] > R["nginx-1"] ? "nginx-2" : "nginx-1"
  printf "hearth / nginx with 1 worker: requests/s %.2f  p99 %.2f\n", R["hearth"]/R["nginx-1"], P["hearth"]/P["nginx-1"]
  printf "hearth / nginx with 2 workers: requests/s %.2f  p99 %.2f\n", R["hearth"]/R["nginx-2"], P["hearth"]/P["nginx-2"]
  printf "errors: %d\n", bad }' "$dir/all"
