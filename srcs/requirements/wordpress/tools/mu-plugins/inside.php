<?php
/**
 * Plugin Name: Inside
 * Description: Lets the site call itself from within its container.
 */

/*
 * The scheduler runs by a request of the site to itself. The port that a visitor used may exist on the
 * host alone; inside the network nginx has the site's name and listens on 443.
 */
add_filter('cron_request', static function (array $request): array {
    $key = $request['key'];
    $request['url'] = 'https://' . getenv('DOMAIN') . "/wp-cron.php?doing_wp_cron=$key";
    return $request;
});
