"""The Dramatiq side: what a worker process is made of. `dramatiq workers.main` (or `muster worker`) starts it."""
