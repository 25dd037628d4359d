<?php
/**
 * WordPress's object cache in Redis (the drop-in wp-content/object-cache.php is a link to this file).
 *
 * What was read or written in a request is kept in an array, and in Redis unless its group is not to
 * persist. Without Redis every function still works, for the one request.
 *
 * https://developer.wordpress.org/reference/classes/wp_object_cache/
 */

final class WP_Object_Cache
{
    private ?Redis $redis = null;
    /** @var array<string, mixed> what this request has seen, by full key */
    private array $seen = [];
    /** @var array<string, true> */
    private array $local_groups = [];
    public int $cache_hits = 0;
    public int $cache_misses = 0;

    public function __construct()
    {
        $redis = new Redis();
        try {
            if ($redis->pconnect(WP_REDIS_HOST, 6379, 1.0) && $redis->auth(site_secret('redis_password'))) {
                $redis->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
                $this->redis = $redis;
            }
        } catch (RedisException $error) {
            error_log("object cache: {$error->getMessage()}");
        }
    }

    public function add_non_persistent_groups(array $groups): void
    {
        $this->local_groups += array_fill_keys($groups, true);
    }

    public function get($key, string $group, bool $force, ?bool &$found)
    {
        return $this->get_multiple([$key], $group, $force, $found)[$key];
    }

    /** The values by key, false where there is none. `$found` is about the last one. */
    public function get_multiple(array $keys, string $group, bool $force = false, ?bool &$found = null): array
    {
        $names = [];
        foreach ($keys as $key) {
            $names[$key] = $this->name($key, $group);
        }
        $wanted = $force ? $names : array_filter($names, fn ($name) => !array_key_exists($name, $this->seen));
        $this->fetch(array_values($wanted), $group);
        $values = [];
        foreach ($names as $key => $name) {
            $found = array_key_exists($name, $this->seen);
            $found ? $this->cache_hits++ : $this->cache_misses++;
            $value = $found ? $this->seen[$name] : false;
            $values[$key] = is_object($value) ? clone $value : $value;
        }
        return $values;
    }

    public function set($key, $value, string $group, int $seconds): bool
    {
        return $this->store($key, $value, $group, $seconds, []);
    }

    public function add($key, $value, string $group, int $seconds): bool
    {
        if (wp_suspend_cache_addition() || array_key_exists($this->name($key, $group), $this->seen)) {
            return false;
        }
        return $this->store($key, $value, $group, $seconds, ['nx']);
    }

    public function replace($key, $value, string $group, int $seconds): bool
    {
        $this->get($key, $group, false, $found);
        return $found && $this->store($key, $value, $group, $seconds, ['xx']);
    }

    public function delete($key, string $group): bool
    {
        $name = $this->name($key, $group);
        $present = array_key_exists($name, $this->seen);
        unset($this->seen[$name]);
        return (bool) $this->ask($group, fn (Redis $redis) => $redis->del($name)) || $present;
    }

    public function add_to($key, int $offset, string $group)
    {
        $value = $this->get($key, $group, true, $found);
        if (!$found) {
            return false;
        }
        $value = max(0, (is_numeric($value) ? $value : 0) + $offset);
        $this->store($key, $value, $group, 0, ['keepttl']);
        return $value;
    }

    public function flush(): bool
    {
        $this->seen = [];
        return (bool) $this->ask('', fn (Redis $redis) => $redis->flushDB()) || $this->redis === null;
    }

    public function flush_runtime(): bool
    {
        $this->seen = [];
        return true;
    }

    public function flush_group(string $group): bool
    {
        $prefix = $this->name('', $group);
        $this->seen = array_filter($this->seen, fn ($name) => !str_starts_with($name, $prefix), ARRAY_FILTER_USE_KEY);
        $this->ask($group, function (Redis $redis) use ($prefix): bool {
            $cursor = null;
            while (($names = $redis->scan($cursor, addcslashes($prefix, '*?[]\\') . '*', 500)) !== false) {
                $names === [] || $redis->del($names);
            }
            return true;
        });
        return true;
    }

    private function name($key, string $group): string
    {
        return ($group === '' ? 'default' : $group) . ":$key";
    }

    private function fetch(array $names, string $group): void
    {
        if ($names === []) {
            return;
        }
        $values = $this->ask($group, function (Redis $redis) use ($names): array {
            $pipeline = $redis->multi(Redis::PIPELINE);
            foreach ($names as $name) {
                // A value may itself be false, so the answer to GET alone does not tell.
                $pipeline->exists($name)->get($name);
            }
            return $pipeline->exec();
        });
        foreach ($values ? array_chunk($values, 2) : [] as $index => [$exists, $value]) {
            if ($exists) {
                $this->seen[$names[$index]] = $value;
            }
        }
    }

    private function store($key, $value, string $group, int $seconds, array $options): bool
    {
        $value = is_object($value) ? clone $value : $value;
        $name = $this->name($key, $group);
        if ($seconds > 0) {
            $options['ex'] = $seconds;
        }
        $stored = $this->ask($group, fn (Redis $redis) => $redis->set($name, $value, $options));
        if ($stored === false) {
            return false;
        }
        $this->seen[$name] = $value;
        return true;
    }

    /** Redis's answer, or null where the group does not persist or Redis is not there. */
    private function ask(string $group, callable $question)
    {
        if ($this->redis === null || isset($this->local_groups[$group])) {
            return null;
        }
        try {
            return $question($this->redis);
        } catch (RedisException $error) {
            error_log("object cache: {$error->getMessage()}");
            $this->redis = null;
            return null;
        }
    }
}

function wp_cache_init(): void
{
    $GLOBALS['wp_object_cache'] = new WP_Object_Cache();
}

function wp_cache_supports(string $feature): bool
{
    return in_array($feature, ['get_multiple', 'flush_runtime', 'flush_group'], true);
}

function wp_cache_get($key, $group = '', $force = false, &$found = null)
{
    return $GLOBALS['wp_object_cache']->get($key, (string) $group, (bool) $force, $found);
}

function wp_cache_get_multiple($keys, $group = '', $force = false): array
{
    return $GLOBALS['wp_object_cache']->get_multiple((array) $keys, (string) $group, (bool) $force);
}

function wp_cache_set($key, $data, $group = '', $expire = 0): bool
{
    return $GLOBALS['wp_object_cache']->set($key, $data, (string) $group, (int) $expire);
}

function wp_cache_add($key, $data, $group = '', $expire = 0): bool
{
    return $GLOBALS['wp_object_cache']->add($key, $data, (string) $group, (int) $expire);
}

function wp_cache_replace($key, $data, $group = '', $expire = 0): bool
{
    return $GLOBALS['wp_object_cache']->replace($key, $data, (string) $group, (int) $expire);
}

function wp_cache_delete($key, $group = ''): bool
{
    return $GLOBALS['wp_object_cache']->delete($key, (string) $group);
}

function wp_cache_incr($key, $offset = 1, $group = '')
{
    return $GLOBALS['wp_object_cache']->add_to($key, (int) $offset, (string) $group);
}

function wp_cache_decr($key, $offset = 1, $group = '')
{
    return $GLOBALS['wp_object_cache']->add_to($key, -(int) $offset, (string) $group);
}

function wp_cache_flush(): bool
{
    return $GLOBALS['wp_object_cache']->flush();
}

function wp_cache_flush_runtime(): bool
{
    return $GLOBALS['wp_object_cache']->flush_runtime();
}

function wp_cache_flush_group($group): bool
{
    return $GLOBALS['wp_object_cache']->flush_group((string) $group);
}

function wp_cache_add_non_persistent_groups($groups): void
{
    $GLOBALS['wp_object_cache']->add_non_persistent_groups((array) $groups);
}

// One site, so all groups are global and there is no other to switch to.
function wp_cache_add_global_groups($groups): void
{
}

function wp_cache_switch_to_blog($blog_id): void
{
}

function wp_cache_close(): bool
{
    return true;
}
