-- wrk's script: single transfers of 0.01 between random accounts, each under a new reference.
-- Arguments: the run's name, the first debtor, the first creditor, how many of each there are.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread_no", threads)
end

function init(args)
  run, first_debtor, first_creditor = args[1], args[2], args[3]
  count = tonumber(args[4])
  sent = 0
  math.randomseed(os.time() + thread_no)
  wrk.method = "POST"
  wrk.path = "/v1/transfers"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  sent = sent + 1
  local debtor = math.random(0, count - 1)
  -- Never the debtor itself, where both are of one range.
  local creditor = (debtor + math.random(1, count - 1)) % count
  return wrk.format(nil, nil, nil, string.format(
    '{"reference":"%s-%d-%d","debtor_account":"%d","creditor_account":"%d",'
      .. '"amount":"0.01","currency":"EUR"}',
    run, thread_no, sent, first_debtor + debtor, first_creditor + creditor
  ))
end

function done(summary, latency, requests)
  io.write(string.format(
    '\n{"requests":%d,"refused":%d,"lost":%d,"microseconds":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)
  ))
end
