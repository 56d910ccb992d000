"""The conservation ledger of a campaign, proved from its topics by sets of ids, in bounded memory."""
