"""What every route shares: errors on the wire, tokens, idempotency, ETags, pages, numbers."""
