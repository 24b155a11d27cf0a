#!/bin/sh
# Creates the namespace that the ledger's workflows live in, and registers what they are searched
# by; running it again changes nothing. Histories are kept for a week: the shards are the
# authority, a history only tells how a convoy travelled.
set -eu

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 7d

temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" \
    --name SagaState --type Keyword \
    --name SagaStep --type Keyword \
    --name FailureCode --type Keyword \
    --name SourceShard --type Int \
    --name DestinationShard --type Int \
    --name ParkedAt --type Datetime
