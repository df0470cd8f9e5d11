#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A custom runtime in bash, as the tutorial of the Lambda documentation has it: docs.aws.amazon.com/lambda/latest/dg/runtimes-walkthrough.html
set -euo pipefail

handler() {
	EVENT_DATA=$1
	echo "$EVENT_DATA" 1>&2
	RESPONSE="Echoing request: '$EVENT_DATA'"
	echo "$RESPONSE"
}

while true; do
	HEADERS="$(mktemp)"
	EVENT_DATA=$(curl -sS -LD "$HEADERS" "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/next")
	REQUEST_ID=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$HEADERS" | tr -d '[:space:]' | cut -d: -f2)
	rm -f "$HEADERS"
	RESPONSE=$(handler "$EVENT_DATA")
	curl -sS "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/$REQUEST_ID/response" -d "$RESPONSE"
done
