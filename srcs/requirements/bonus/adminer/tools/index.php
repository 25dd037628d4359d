<?php
/**
 * Adminer for this project's database server only.
 */

function adminer_object()
{
    class OneServer extends Adminer
    {
        public function credentials()
        {
            return ['mariadb:' . getenv('DB_PORT'), $_GET['username'], get_password()];
        }

        public function loginFormField($name, $heading, $value)
        {
            return $name === 'server' ? '' : $heading . $value;
        }
    }
    return new OneServer();
}

include '/usr/share/adminer/adminer.php';
