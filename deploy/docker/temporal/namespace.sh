#!/bin/sh
# Creates the namespace that the ledger's workflows live in. Histories are kept for a week: the
# shards are the authority, a history only tells how a convoy travelled.
set -eu

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 7d
