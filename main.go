// Vigil monitors hosts and apps, shows their health on a public status page
// and tells people when it changes.
package main

func main() {}
