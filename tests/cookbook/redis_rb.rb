# redis-rb through the Sentinel face: writes as long as it is let.
require "redis"

_library, host, port, name, key = ARGV
$stdout.sync = true

redis = Redis.new(
  url: "redis://#{name}",
  sentinels: [{ host: host, port: Integer(port) }],
  role: :master,
  reconnect_attempts: 0,
  timeout: 5
)

stopped = false
Thread.new do
  $stdin.read
  stopped = true
end

number = 0
until stopped
  number += 1
  begin
    redis.rpush(key, number)
    puts "ack #{number}"
  rescue Redis::BaseError => error
    puts "err #{number} #{error.class}"
    # A master that became a slave keeps the connection: leave it, and ask again who is master.
    redis.close
    sleep 0.01
  end
  sleep 0.002
end
