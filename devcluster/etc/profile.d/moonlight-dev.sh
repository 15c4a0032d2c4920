# What a shell on the development cluster finds set (./dev shell). Only root may read the password.
export MOONLIGHT_CONFIG=/etc/moonlight/moonlight.toml
export PATH=/opt/moonlight/backend_moonlight_8004/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ -r /etc/moonlight/redis.password ]; then
    REDISCLI_AUTH=$(cat /etc/moonlight/redis.password)
    export REDISCLI_AUTH
fi
