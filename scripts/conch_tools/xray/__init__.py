"""`conch xray`: one request, step by step, through a running server.

An ensemble answers as a whole: which step made an answer wrong, or slow, does not show. Here the steps are read from
the server's own configuration (`plan`), asked one by one (`walk`), timed as they run inside the ensemble (`measure`, by
`tracing` or by `counters`), judged by rules (`advice`) and compared with another version's (`diff`). `run` puts these
together; `table`, `page` and `as_json` show the outcome. Nothing needs the repository's files, so any Triton will do.
"""
