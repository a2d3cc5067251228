"""Measures the broker against Apache Kafka 4.3 in one run: `make bench`.

Load comes from two C programs (`loader/`), because Python clients saturate long before a broker. Rows are functions
that return `outcome.Row`s; `run` plays them and prints the table. What cannot be measured says so and why: no number
is ever carried over from another run or estimated.
"""
