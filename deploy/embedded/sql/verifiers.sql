-- Hands the SCRAM verifiers to roles.sql, as parameters so that they stand in no statement text.
SELECT set_config('embedded.owner_verifier', %(owner)s, false),
       set_config('embedded.posting_verifier', %(posting)s, false);
