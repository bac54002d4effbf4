"""Long work: the job document, leases with fences, progress, the doorbell that wakes a worker, the sweep."""
