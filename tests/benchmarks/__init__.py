"""How fast, beside what the machine can do: each benchmark measures the product and its limit in one run.

    python -m tests.benchmarks ingest [--rows 0,5000000,20000000] [--batch 1000,100,1]
    python -m tests.benchmarks rollup
    python -m tests.benchmarks live_usage [--rows 0,5000000,20000000]      (also called live_spend)
    python -m tests.benchmarks threshold_reaction
    python -m tests.benchmarks close [--contracts 1000,10000,30000] [--processes 1,2]
    python -m tests.benchmarks issue [--processes 1,2]
    python -m tests.benchmarks push
    python -m tests.benchmarks everything

Common options: `--scale N` multiplies the work (0.1 for a quick look), `--json` prints one object instead of a table.
README.md says what each one does, RESULTS.md what came out. Never part of the test run.
"""
